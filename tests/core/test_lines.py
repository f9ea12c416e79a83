"""Of a file whose writer was killed, the whole lines are read and the half one is cut off."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsgmer.core.lines import whole_lines

LINE = st.binary(max_size=9).filter(lambda line: not {10, 13} & set(line))


@given(lines=st.lists(LINE, max_size=5), half=LINE)
def test_whole_lines_are_kept_and_half_a_line_is_not(
    lines: list[bytes], half: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("lines") / "log.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines) + half)
    assert whole_lines(path) == lines
    with path.open("ab") as file:
        file.write(b"next\n")
    assert whole_lines(path) == [*lines, b"next"]


def test_a_file_that_is_missing_has_none(tmp_path: Path) -> None:
    assert whole_lines(tmp_path / "log.jsonl") == []
    assert not (tmp_path / "log.jsonl").exists()
