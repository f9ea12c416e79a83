"""The console output of a run: a banner per stage, its lines, its progress, and how long it took."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass, field

from lsgmer.core.progress import PROGRESS

# DVC's own messages, which say nothing about the work, and what libmpg123 writes to stderr about a faulty MP3: that
# such a recording is left out, and why, is in the stage's own report.
NOISE = re.compile(
    r"^(Updating lock file|Generating lock file|Use `dvc push`|Running stage|> |To track the changes"
    r"|To enable auto staging|\s+git add |\s+dvc config core.autostage|\s*$"
    r"|\[(src/)?libmpg123|Note: (Illegal Audio-MPEG-Header|Trying to resync|Skipped \d+ bytes|Hit )"
    r"|Warning: (Xing |Real sample count|Encountered more data|Cannot ))"
)


@dataclass
class Console:
    """Writes to stdout; on a terminal, a progress line overwrites the previous one."""

    stage: str
    position: str
    began: float = field(default_factory=time.monotonic)
    open_line: bool = False

    def start(self) -> None:
        """Print the stage's banner."""
        self._print(f"── {self.position} {self.stage} " + "─" * max(2, 56 - len(self.stage) - len(self.position)))

    def line(self, text: str) -> None:
        """Print one line of the stage's output, without DVC's own messages."""
        found = PROGRESS.match(text)
        if found:
            self._progress(found)
        elif not NOISE.match(text):
            self._print(f"   {text}")

    def end(self, word: str) -> None:
        """Print how the stage ended, and after how long."""
        self._print(f"   {self.stage} {word} in {time.monotonic() - self.began:.1f} s")

    def _progress(self, found: re.Match[str]) -> None:
        done, total = int(found["done"]), int(found["total"])
        text = f"   {found['what']} {done}/{total} ({done / max(total, 1):.0%}), {found['eta']} left"
        if sys.stdout.isatty():
            sys.stdout.write(f"\r\033[K{text}")
            sys.stdout.flush()
            self.open_line = True
        else:
            self._print(text)

    def _print(self, text: str) -> None:
        if self.open_line:
            sys.stdout.write("\n")
            self.open_line = False
        print(text, flush=True)
