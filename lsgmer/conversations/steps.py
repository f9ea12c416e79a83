"""What an analysis has finished so far: kept in memory, or in a folder, from which a killed analysis is resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from lsgmer.core.lines import whole_lines
from lsgmer.core.paths import write_atomically


class Steps(Protocol):
    """Finished steps by name: some are one value, others grow line by line."""

    def read(self, name: str) -> dict[str, Any] | None:
        """Return the value of a step, None if it is not finished."""
        ...

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Keep the value of a finished step."""
        ...

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of a step, as many as were finished."""
        ...

    def append(self, name: str, lines: list[dict[str, Any]]) -> None:
        """Keep further lines of a step."""
        ...


class NoSteps:
    """Keeps nothing: an analysis that is stopped begins anew."""

    def read(self, name: str) -> dict[str, Any] | None:
        """Return None."""
        return None

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Keep nothing."""

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return none."""
        return []

    def append(self, name: str, lines: list[dict[str, Any]]) -> None:
        """Keep nothing."""


class FolderSteps:
    """Steps as JSON files in a folder of their own. Of a line that was being written when the process died, nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, name: str) -> dict[str, Any] | None:
        """Return the value in NAME.json."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Write NAME.json, whole or not at all."""
        write_atomically(self.folder / f"{name}.json", json.dumps(value))

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return the whole lines of NAME.jsonl, and drop what follows them."""
        return [json.loads(line) for line in whole_lines(self.folder / f"{name}.jsonl")]

    def append(self, name: str, lines: list[dict[str, Any]]) -> None:
        """Append to NAME.jsonl."""
        with (self.folder / f"{name}.jsonl").open("ab") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
