"""Markdown tables, numbers and times as every report writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lsgmer.core.records import Seconds


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; pipes in cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def number_text(value: float | None) -> str:
    """Return "0.812", or an empty string for None."""
    return "" if value is None else f"{value:.3f}"


def clock(seconds: Seconds) -> str:
    """Return a time as people read it: minutes and seconds, with hours where there are some.

    >>> clock(12.4), clock(3675.05)
    ('00:12.40', '1:01:15.05')
    """
    hundredths = round(seconds * 100)
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    return f"{f'{hours}:' if hours else ''}{minutes:02}:{rest // 100:02}.{rest % 100:02}"


def cut_text(start_s: Seconds | None, end_s: Seconds | None) -> str:
    """Return a cut of a recording as people read it; an end that is None is the recording's.

    >>> cut_text(12.4, 15.1), cut_text(2, None), cut_text(None, None)
    ('00:12.40-00:15.10', '00:02.00-end', '')
    """
    if start_s is None and end_s is None:
        return ""
    return f"{clock(start_s or 0.0)}-{'end' if end_s is None else clock(end_s)}"
