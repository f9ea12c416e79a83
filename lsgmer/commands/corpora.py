"""`lsgmer corpora` and `lsgmer import-meld`."""

from __future__ import annotations

from pathlib import Path

from lsgmer.corpora import catalogue


def corpora() -> None:
    """Print every corpus with its layout, licence and expected counts."""
    print(catalogue.render())


def import_meld(source: Path, destination: Path) -> int:
    """Turn MELD's clips into WAV files; return the exit code. Raises LsgmerError."""
    from lsgmer.corpora.meld_import import announce

    return announce(source, destination)
