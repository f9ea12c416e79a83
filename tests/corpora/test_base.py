"""What corpus readers share."""

from __future__ import annotations

from pathlib import Path

from lsgmer.corpora.base import as_named


def test_a_file_is_found_in_whatever_case_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.WAV").touch()
    (tmp_path / "b.wav").mkdir()
    assert as_named(tmp_path / "a.wav") == tmp_path / "a.WAV"
    assert as_named(tmp_path / "a.WAV") == tmp_path / "a.WAV"
    assert as_named(tmp_path / "b.wav") is None
    assert as_named(tmp_path / "none" / "a.wav") is None
