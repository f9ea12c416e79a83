"""Ends a flow or a schedule when the command that started it is gone."""

from __future__ import annotations

import os
import signal
import threading
import time

from lsgmer.core.process import WATCHED, is_alive


def watch_parent() -> None:
    """Interrupt this process, as Ctrl-C would, once the command named in the environment is gone."""
    parent = os.environ.pop(WATCHED, None)

    def watch() -> None:
        while parent and is_alive(parent):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    if parent:
        threading.Thread(target=watch, daemon=True, name="parent-watch").start()
