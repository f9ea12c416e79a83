"""Rows of an output as JSON and CSV, as every command writes them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any


def json_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as indented JSON."""
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as CSV; the longest ones say the order of the columns, and what a row lacks is empty."""
    columns = list(dict.fromkeys(key for row in sorted(rows, key=len, reverse=True) for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
