"""Progress of long work: a bar on a terminal, otherwise lines that the flow parses."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
# What `track` prints where there is no terminal.
PROGRESS = re.compile(r"^progress (?P<what>.+) (?P<done>\d+)/(?P<total>\d+) eta (?P<eta>\S+)$")


def track(items: Iterable[Item], total: int, what: str, start: int = 0) -> Iterator[Item]:
    """Yield `items`, showing progress: a bar on a terminal, otherwise a line every two seconds.

    The line is `progress WHAT DONE/TOTAL ETA`, which the flow turns into a Prefect progress artifact.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as bar

        yield from bar(items, description=what, total=total, completed=start, console=Console(stderr=True))
        return
    began = shown = time.monotonic()
    done = start
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - shown >= 2 or done == total:
            shown = now
            left = (now - began) / max(done - start, 1) * (total - done)
            print(f"progress {what} {done}/{total} eta {left:.0f}s", file=sys.stderr, flush=True)


@contextmanager
def shown(what: str) -> Iterator[Callable[[str, float], None]]:
    """Yield a function that shows how far one piece of work is: its stage, and the share in [0, 1] that is done.

    A bar on a terminal, otherwise the lines of `track`, in percent.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(escape(what), total=1.0)
            yield lambda stage, share: progress.update(task, description=escape(f"{what}: {stage}"), completed=share)
        return
    began = last = time.monotonic()

    def show(stage: str, share: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 2:
            last = now
            left = f"{(now - began) * (1 - share) / share:.0f}s" if share else "?"
            print(f"progress {what}: {stage} {100 * share:.0f}/100 eta {left}", file=sys.stderr, flush=True)

    yield show
