"""A prediction log keeps every acknowledged line, whoever writes at once and wherever a writer is killed."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import stat
import threading
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lsgmer.service import prediction_log
from lsgmer.service.entries import EventEntry
from lsgmer.service.log_format import HEAD, LogError
from lsgmer.service.log_report import LogReport, find, verify
from lsgmer.service.prediction_log import PredictionLog
from tests.support.logs import entry, lines_of, writer


class Killed(BaseException):
    """What a process that is killed does not catch."""


class DyingOs:
    """The module os, in which writing call number `last` writes only `share` of its bytes and is the last."""

    def __init__(self, last: int, share: float, failure: BaseException) -> None:
        self.left, self.share, self.failure = last, share, failure

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, handle: int, data: bytes) -> int:
        return os.write(handle, self._allowed(data)) if self.left else self._die(os.write, handle, data)

    def pwrite(self, handle: int, data: bytes, at: int) -> int:
        whole = data if self.share == 1 else b""  # of a page, a kill leaves all or nothing
        if self.left:
            return os.pwrite(handle, self._allowed(data), at)
        os.pwrite(handle, whole, at)
        raise self.failure

    def _allowed(self, data: bytes) -> bytes:
        self.left -= 1
        return data

    def _die(self, write: Any, handle: int, data: bytes) -> int:
        write(handle, data[: int(len(data) * self.share)])
        raise self.failure


def hashes(folder: Path) -> list[str]:
    return [line[-67:-3].decode() for _, _, line in lines_of(folder)]


def whole(folder: Path) -> LogReport:
    report = verify(folder)
    assert report.broken is None, report.to_text()
    return report


def append_until_killed(log: PredictionLog, said: list[str]) -> bool:
    """Append entries, collecting the hashes that were returned, until the process 'dies'."""
    with suppress(Killed):
        for i in range(100):
            said.append(log.append(entry(f"r{i}")))
    return len(said) < 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "predictions"


def test_a_log_goes_on_where_it_ended(folder):
    said = [PredictionLog(folder).append(entry(f"r{i}")) for i in range(3)]
    assert hashes(folder)[1:] == said
    assert whole(folder).kinds == {"start": 1, "prediction": 3}
    assert PredictionLog(folder).found == ()


def test_files_are_limited_numbered_and_chained(folder):
    log = PredictionLog(folder, max_bytes=3000)
    for i in range(20):
        log.append(entry(f"r{i}"))
    log.append(entry("long", labels=1000))
    log.append(entry("after"))
    report = whole(folder)
    files = sorted(folder.glob("log-*.jsonl"))
    assert [file.name for file in files] == [f"log-{i:06d}.jsonl" for i in range(1, report.files + 1)]
    assert report.kinds == {"start": report.files, "prediction": 22}
    assert sum(file.stat().st_size > 3000 for file in files) == 1, "only the one with a line that is longer by itself"
    for before, after in pairwise(files):
        last, first = before.read_bytes().splitlines()[-1], after.read_bytes().splitlines()[0]
        assert f'"previous":"{last[-66:-2].decode()}"'.encode() in first


def test_no_input_can_be_read_from_the_log(folder):
    log = PredictionLog(folder)
    audio, words = b"RIFF the bytes of a recording", "I told you so"
    inputs = log.inputs(audio, words, [("and before that", True)], channel=1, speaker=True)
    log.append(entry("r1").model_copy(update={"inputs": inputs}))
    content = find(folder, "r1")[0].content["inputs"]
    assert content["audio_sha256"] == hashlib.sha256(audio).hexdigest()
    assert (content["speaker"], content["channel"], content["earlier"]) == (True, 1, 1)
    stored = b"".join(line for _, _, line in lines_of(folder))
    for secret in (audio, words.encode(), b"before that", hashlib.sha256(words.encode()).hexdigest().encode()):
        assert secret not in stored
    key = folder.with_name("predictions.key").read_text().strip()
    assert not any(key in path.read_text() for path in folder.iterdir())
    assert PredictionLog(folder).inputs(None, words).text_hmac == content["text_hmac"], "the same words, the same hash"
    elsewhere = PredictionLog(folder.with_name("other")).inputs(None, words).text_hmac
    assert elsewhere != content["text_hmac"]
    assert log.inputs(None, None) == log.inputs(None, None, []) != log.inputs(b"", "")


def test_only_the_owner_can_read_it(folder):
    PredictionLog(folder, max_bytes=1).append(entry("r1"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = [*folder.iterdir(), folder.with_name("predictions.key")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_several_processes_and_their_forks_make_one_chain(folder):
    running = [writer(folder, f"w{i}", 40, 20_000, fork=i == 0) for i in range(3)]
    while any(process.poll() is None for process in running):
        if (folder / HEAD).exists() and list(folder.glob("log-*")):
            whole(folder)  # also while it is written
        time.sleep(0.2)
    said = [line.split() for process in running for line in process.communicate()[0].splitlines()]
    assert [process.returncode for process in running] == [0] * 3
    report = whole(folder)
    assert report.kinds["prediction"] == len(said) == 4 * 40
    assert report.files > 5
    assert report.kinds["start"] == report.files
    assert {hash_ for _, hash_ in said} <= set(hashes(folder))
    assert not list(folder.glob("torn-*"))


def test_threads_of_one_process_make_one_chain(folder):
    log, other = PredictionLog(folder, max_bytes=5000), PredictionLog(folder, max_bytes=5000)
    threads = [
        threading.Thread(target=lambda use=use, i=i: [use.append(entry(f"t{i}-{j}")) for j in range(30)])
        for i, use in enumerate((log, log, other, other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert whole(folder).kinds["prediction"] == 120


def test_a_writer_killed_again_and_again_loses_nothing_it_acknowledged(folder):
    pause, said, torn = random.Random(5), [], 0
    for i in range(6):
        process = writer(folder, f"w{i}", 100_000, 100_000)
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(pause.uniform(0, 0.1))
        process.kill()
        said += [line.split()[1] for line in (first + process.communicate()[0]).splitlines() if len(line.split()) == 2]
        broken = verify(folder).broken
        if broken is not None:
            assert broken.reason == "torn"
            assert "never acknowledged" in broken.detail
            torn += 1
        assert set(said) <= set(hashes(folder))
    PredictionLog(folder)
    report = whole(folder)
    assert report.kinds.get("event", 0) == len(report.set_aside) == torn
    assert set(said) <= set(hashes(folder))
    assert len(said) >= 6


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_wherever_a_writer_dies_the_chain_goes_on(tmp_path, monkeypatch, share):
    for call in range(40):
        folder, said = tmp_path / f"{call}", []
        log = PredictionLog(folder, max_bytes=1500)
        with monkeypatch.context() as patch:
            patch.setattr(prediction_log, "os", DyingOs(call, share, Killed()))
            assert append_until_killed(log, said)
        log.close()
        broken = verify(folder).broken
        assert broken is None or (share == 0.5 and broken.reason == "torn" and "never" in broken.detail), broken
        for again in range(4):  # and the next one too, while it puts things right
            with monkeypatch.context() as patch:
                patch.setattr(prediction_log, "os", DyingOs(again, share, Killed()))
                with suppress(Killed):
                    PredictionLog(folder).close()
        reopened = PredictionLog(folder, max_bytes=1500)
        said.append(reopened.append(entry("last")))
        assert set(said) <= set(hashes(folder))
        assert whole(folder).kinds["prediction"] - len(said) in (0, 1), "at most one that nobody acknowledged"
        reopened.close()


def test_a_torn_tail_is_kept_aside_and_reported(folder):
    PredictionLog(folder).append(entry("r1"))
    path = folder / "log-000001.jsonl"
    before = path.read_bytes()
    path.write_bytes(before + b'{"half":"a li')
    broken = verify(folder).broken
    assert (broken.file, broken.line, broken.reason) == ("log-000001.jsonl", 3, "torn")
    log = PredictionLog(folder)
    (kept,) = folder.glob("torn-*.bin")
    assert kept.read_bytes() == b'{"half":"a li'
    assert len(log.found) == 1
    assert log.found[0].startswith("torn: log-000001.jsonl: 13 bytes after line 2")
    report = whole(folder)
    assert (report.kinds["event"], report.set_aside) == (1, (kept.name,))
    assert path.read_bytes().startswith(before)
    assert PredictionLog(folder).found == ()


def test_lines_added_by_hand_are_set_aside(folder):
    PredictionLog(folder).append(entry("r1"))
    path = folder / "log-000001.jsonl"
    forged = path.read_bytes().splitlines(keepends=True)[-1]
    path.write_bytes(path.read_bytes() + forged)
    assert verify(folder).broken.reason == "swapped"
    PredictionLog(folder)
    assert next(folder.glob("torn-*.bin")).read_bytes() == forged
    whole(folder)


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_lost_lines_are_recorded_and_stay_visible(folder, cut):
    log = PredictionLog(folder)
    for i in range(4):
        log.append(entry(f"r{i}"))
    path = folder / "log-000001.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    left = b"".join(lines[:2]) + lines[2][:cut] if cut else b""
    path.write_bytes(left)
    log.append(entry("later"))
    assert log.found[0].startswith("lost: log-000001.jsonl")
    broken = verify(folder).broken
    assert (broken.line, broken.reason) == (3 if cut else 1, "removed")
    assert "missing before line" in broken.detail
    kept = list(folder.glob("torn-*.bin"))
    assert [path.read_bytes() for path in kept] == ([lines[2][:cut]] if cut else [])


def test_a_file_deleted_under_a_writer_is_recorded(folder):
    log = PredictionLog(folder)
    log.append(entry("r1"))
    (folder / "log-000001.jsonl").unlink()
    log.append(entry("r2"))
    assert log.found[0].startswith("lost")
    assert find(folder, "r2")
    assert verify(folder).broken.reason == "removed"


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\x00" * 192])
def test_a_lost_head_is_made_again_from_the_last_line_and_recorded(folder, content):
    log = PredictionLog(folder, max_bytes=1500)
    for i in range(5):
        log.append(entry(f"r{i}"))
    (folder / HEAD).unlink()
    if content is not None:
        (folder / HEAD).write_bytes(content)
    assert verify(folder).broken.file == HEAD
    PredictionLog(folder).append(entry("r5"))
    log.append(entry("r6"))  # the writer that was running uses the new head too
    report = whole(folder)
    assert (report.kinds["prediction"], report.kinds["event"]) == (7, 1)


def test_without_head_and_last_line_it_refuses_to_guess(folder):
    PredictionLog(folder).append(entry("r1"))
    (folder / HEAD).unlink()
    path = folder / "log-000001.jsonl"
    path.write_bytes(path.read_bytes()[:-5] + b'0"}\n}\n')
    with pytest.raises(LogError, match=r"so is the last line; see `lsgmer audit log`, then move the folder away"):
        PredictionLog(folder)


def test_a_full_disk_is_an_error_and_leaves_the_log_as_it_was(folder, monkeypatch):
    log = PredictionLog(folder)
    log.append(entry("r1"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for share in (0, 0.3):
        with monkeypatch.context() as patch:
            patch.setattr(prediction_log, "os", DyingOs(0, share, OSError(errno.ENOSPC, "No space left on device")))
            with pytest.raises(LogError, match="predictions: cannot be written: No space left on device"):
                log.append(entry("r2"))
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    log.append(entry("r3"))
    assert whole(folder).kinds["prediction"] == 2


def test_with_sync_every_line_is_on_disk_before_it_is_acknowledged(folder, monkeypatch):
    synced = []
    log = PredictionLog(folder, sync=True)
    monkeypatch.setattr(prediction_log.os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    log.append(entry("r1"))
    assert synced == [(folder / "log-000001.jsonl").stat().st_size]


def test_lines_too_long_and_folders_that_cannot_be_made_are_named(folder, tmp_path):
    log = PredictionLog(folder)
    with pytest.raises(LogError, match="at most 1048576 are allowed"):
        log.append(entry("r1", labels=60_000))
    log.append(EventEntry(event="stopped"))
    assert whole(folder).kinds == {"start": 1, "event": 1}
    (tmp_path / "file").touch()
    with pytest.raises(LogError, match="file/log: cannot be written"):
        PredictionLog(tmp_path / "file" / "log")
    folder.with_name("predictions.key").write_text("no key")
    with pytest.raises(LogError, match=r"predictions\.key: not a key"):
        PredictionLog(folder)
