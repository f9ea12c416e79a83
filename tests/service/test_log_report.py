"""Whatever is changed, removed, moved or cut in a prediction log, the first line that no longer fits is named."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lsgmer.service import log_report
from lsgmer.service.entries import EventEntry, FeedbackEntry
from lsgmer.service.log_format import HEAD, LogError, log_name, log_numbers, seal, unseal
from lsgmer.service.log_report import LogReport, find, verify
from lsgmer.service.prediction_log import PredictionLog
from tests.support.logs import MODEL, entry, lines_of

Files = dict[str, bytes]


def _whole() -> Files:
    """A log of 23 lines in several files, some with their first line and one other, as bytes by name."""
    with tempfile.TemporaryDirectory() as folder:
        log = PredictionLog(Path(folder) / "log", max_bytes=2500)
        for i in range(10):
            log.append(entry(f"r{i}", labels=40 if i == 4 else 2))
        log.append(FeedbackEntry(request_id="r1", label="happy"))
        log.append(EventEntry(event="started", detail="café"))
        return {path.name: path.read_bytes() for path in log.folder.iterdir()}


WHOLE = _whole()
NAMES = sorted(name for name in WHOLE if name != HEAD)
LINES = [(name, i + 1) for name in NAMES for i in range(WHOLE[name].count(b"\n"))]


def report_on(files: Files) -> LogReport:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return verify(Path(folder))


def place_of(report: LogReport) -> tuple[str, int, str] | None:
    return report.broken and (report.broken.file, report.broken.line, report.broken.reason)


def with_lines(lines: list[bytes], places: list[str]) -> Files:
    """The log with these lines, each in the file of the same index in `places`; the head as it was."""
    files = {name: b"" for name in NAMES} | {HEAD: WHOLE[HEAD]}
    for line, name in zip(lines, places, strict=True):
        files[name] += line
    return files


def raw_lines() -> list[bytes]:
    return [line for name in NAMES for line in WHOLE[name].splitlines(keepends=True)]


def test_a_whole_log_is_whole():
    report = report_on(WHOLE)
    assert report.broken is None
    assert (report.files, report.lines, report.seq) == (len(NAMES), len(LINES), len(LINES))
    assert report.kinds == {"start": len(NAMES), "prediction": 10, "feedback": 1, "event": 1}
    assert report.models == {MODEL: 10}
    assert report.first <= report.last
    assert "the chain is whole" in report.to_text()
    assert len(NAMES) > 3


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_changed_byte_is_found_in_its_line(data):
    name = data.draw(st.sampled_from(NAMES))
    content = bytearray(WHOLE[name])
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    line = WHOLE[name][:at].count(b"\n") + 1
    found = place_of(report_on(WHOLE | {name: bytes(content)}))
    ends_file = at == len(content) - 1
    assert found == (name, line, "torn" if ends_file else "changed")


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(WHOLE[HEAD]) - 1), st.integers(1, 255))
def test_any_changed_byte_of_the_head_is_found(at, change):
    content = bytearray(WHOLE[HEAD])
    content[at] ^= change
    assert report_on(WHOLE | {HEAD: bytes(content)}).broken is not None


@pytest.mark.parametrize("gone", range(len(LINES)), ids=str)
def test_any_removed_line_is_named(gone):
    lines, places = raw_lines(), [name for name, _ in LINES]
    del lines[gone], places[gone]
    found = place_of(report_on(with_lines(lines, places)))
    name, number = LINES[gone]
    follows_in_file = gone + 1 < len(LINES) and LINES[gone + 1][0] == name
    last = gone == len(LINES) - 1
    assert found == ((name, number, "removed") if follows_in_file or last else (LINES[gone + 1][0], 1, "removed"))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, len(LINES) - 1), min_size=2, max_size=2, unique=True).map(sorted))
def test_two_swapped_lines_are_found_at_the_first(pair):
    one, two = pair
    lines = raw_lines()
    lines[one], lines[two] = lines[two], lines[one]
    assert place_of(report_on(with_lines(lines, [name for name, _ in LINES]))) == (*LINES[one], "swapped")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, len(LINES) - 1), st.integers(0, len(LINES) - 1))
def test_a_line_that_is_there_twice_is_found(which, after):
    assume(which != after + 1)  # a copy before the line itself cannot be told from one after it
    lines, places = raw_lines(), [name for name, _ in LINES]
    lines.insert(after + 1, lines[which])
    places.insert(after + 1, places[after])
    assert place_of(report_on(with_lines(lines, places))) == (LINES[after][0], LINES[after][1] + 1, "swapped")


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_log_cut_anywhere_is_not_whole(data):
    content = WHOLE[NAMES[-1]]
    left = data.draw(st.integers(0, len(content) - 1))
    name, line, reason = place_of(report_on(WHOLE | {NAMES[-1]: content[:left]}))
    assert (name, line) == (NAMES[-1], content[:left].count(b"\n") + 1)
    assert reason == ("removed" if not left or content[left - 1 : left] == b"\n" else "torn")


@pytest.mark.parametrize("gone", range(len(NAMES)))
def test_a_missing_file_is_named(gone):
    files = {name: content for name, content in WHOLE.items() if name != NAMES[gone]}
    assert place_of(report_on(files)) == (NAMES[gone], 1, "missing")
    without_logs = {HEAD: WHOLE[HEAD]}
    assert place_of(report_on(without_logs)) == (NAMES[0], 1, "missing")


def test_a_missing_head_is_named_since_the_end_cannot_be_known():
    report = report_on({name: content for name, content in WHOLE.items() if name != HEAD})
    assert place_of(report) == (HEAD, 1, "missing")
    assert report.lines == len(LINES)


@pytest.mark.parametrize("at", [3, len(LINES) - 1])
def test_a_line_written_anew_with_a_right_hash_does_not_fit(at):
    lines = raw_lines()
    content = unseal(lines[at]).content
    lines[at], _ = seal(content | {"time": "2020-01-01T00:00:00.000+00:00"})
    found = place_of(report_on(with_lines(lines, [name for name, _ in LINES])))
    assert found == (*LINES[min(at + 1, len(LINES) - 1)], "changed")


def test_find_returns_every_line_of_a_request_and_no_other(tmp_path):
    for name, content in WHOLE.items():
        (tmp_path / name).write_bytes(content)
    first, second = find(tmp_path, "r1")
    assert (first.content["kind"], second.content["kind"], second.content["label"]) == (
        "prediction", "feedback", "happy",
    )  # fmt: skip
    by_place = {(name, i): line for name, i, line in lines_of(tmp_path)}
    for found in (first, second):
        assert found.content["hash"] in by_place[found.file, found.line].decode()
    assert find(tmp_path, "r") == find(tmp_path, "absent") == ()


@pytest.mark.parametrize("block", [64, 1000, 5000])
def test_find_numbers_lines_whatever_the_size_of_its_blocks(tmp_path, monkeypatch, block):
    monkeypatch.setattr(log_report, "BLOCK_BYTES", block)
    log = PredictionLog(tmp_path / "log", max_bytes=6000)
    ids = [*(f"r{i}" for i in range(30)), 'a "quoted" id', "größer"]
    for name in ids:
        log.append(entry(name))
    with (log.folder / log_name(max(log_numbers(log.folder)))).open("ab") as file:
        file.write(b'{"request_id":"cut off"')
    numbers = {(name, i): line for name, i, line in lines_of(log.folder)}
    for name in ids:
        (found,) = find(log.folder, name)
        assert unseal(numbers[found.file, found.line]).content["request_id"] == name
    for name in ("", "cut off", "r", "\udc80"):
        assert find(log.folder, name) == ()


def test_no_log_is_an_error_that_says_so(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        for read in (verify, lambda folder: find(folder, "r1")):
            with pytest.raises(LogError, match="no prediction log here"):
                read(folder)


def test_memory_does_not_grow_with_the_log(tmp_path):
    log = PredictionLog(tmp_path / "log")
    for i in range(1000):
        log.append(entry(f"r{i}", labels=50))
    assert (log.folder / NAMES[0]).stat().st_size > 2**20
    tracemalloc.start()
    assert verify(log.folder).lines == 1001
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**18
