"""Two-channel calls made of real recordings: where each of them lies is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.calls import make_call

__all__ = ["NEMO", "RATE", "make_call", "recordings"]
NEMO = Path(__file__).parents[3] / "shared/data/nemo"
RATE = 24_000


def recordings(count: int) -> list[Path]:
    """Return `count` recordings of nEMO, spread over speakers and emotions; skip the test where there are none."""
    found = sorted(NEMO.rglob("*.flac"))
    if not found:
        pytest.skip("needs ../shared/data/nemo")
    return found[:: len(found) // count][:count]
