"""Paired comparisons: `python -m bench [NAME ...]`, or `make bench`. Without names: all of them.

Each row runs ours and a control that a good engineer would write with the same library, in turn, and gives medians
of wall clock and CPU time. Rows are kept in docs/performance/paired.json, and docs/performance.md shows all that are
there.
The name `growth` measures nothing: it draws what bench.growth measured.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

from bench import page
from bench.paired import NotMeasured, Pair, environment, measure, text_of

ROWS = {
    "text": ("bench.text_rows", "pairs"),
    "training": ("bench.training_rows", "pairs"),
    "corpus": ("bench.corpus_rows", "pairs"),
    "help": ("bench.command_rows", "help_pairs"),
    "idle": ("bench.command_rows", "idle_pairs"),
}
FOLDER = page.ROOT / "docs" / "performance"
PAIRED, GROWTH = FOLDER / "paired.json", FOLDER / "growth.json"


def rows_of(name: str) -> list[Pair]:
    """Return the pairs of `name`. Raises NotMeasured if something that they need is not there."""
    module, function = ROWS[name]
    found: list[Pair] = getattr(importlib.import_module(module), function)()
    return found


def load(path: Path) -> list[dict[str, Any]]:
    """Return the rows kept in `path`, none if it is not there."""
    return json.loads(path.read_text()) if path.is_file() else []


def run(names: list[str]) -> dict[str, str]:
    """Measure these groups of rows and keep them; return those that could not be measured, and why."""
    missing: dict[str, str] = {}
    for name in names:
        try:
            for pair in rows_of(name):
                row = measure(pair)
                print(text_of(row), flush=True)
                kept = {each["name"]: each for each in load(PAIRED)} | {row["name"]: row}
                FOLDER.mkdir(parents=True, exist_ok=True)
                PAIRED.write_text(json.dumps(list(kept.values()), indent=1, sort_keys=True) + "\n")
        except NotMeasured as reason:
            missing[name] = str(reason)
            print(f"{name}: not measured: {reason}", flush=True)
    return missing


def write_page(missing: dict[str, str]) -> None:
    """Write tables and plot into docs/performance.md from all that was ever measured and kept."""
    growth = load(GROWTH)
    content = page.put(page.PAGE.read_text(encoding="utf-8"), "paired", page.paired_table(load(PAIRED), missing))
    content = page.put(content, "growth", page.growth_table(growth))
    content = page.put(content, "plan", page.plan_table(growth))
    page.PAGE.write_text(content, encoding="utf-8")
    page.draw(growth)


def main() -> None:
    """Measure what is named and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join([*ROWS, 'growth'])}")
    names = parser.parse_args().names or list(ROWS)
    unknown = set(names) - {*ROWS, "growth"}
    if unknown:
        parser.error(f"no rows named {', '.join(sorted(unknown))}; there are {', '.join([*ROWS, 'growth'])}")
    print("environment: " + ", ".join(f"{name} {value}" for name, value in environment().items()), flush=True)
    write_page(run([name for name in names if name != "growth"]))


if __name__ == "__main__":
    main()
