"""`lsgmer predict --url` gives the rows of the local command: the same order, fields, errors, and values to 1e-6."""

from __future__ import annotations

import io
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from lsgmer.commands import remote
from lsgmer.commands.predict import answers, predict
from lsgmer.commands.queries import Query, TableSource, gather, read_table
from lsgmer.core.errors import ParamsError
from lsgmer.encoders.weights import package_file
from lsgmer.registry import champions
from tests.serving.test_service import tone
from tests.serving.test_transcripts import installed
from tests.support.server import Served

RATE = 16000
ENOUGH = 5  # recordings before the service trusts a speaker's level


@pytest.fixture(scope="module")
def project(served: Served, monkeypatch_module: pytest.MonkeyPatch) -> Served:
    """The served model is the champion of the current folder, too."""
    monkeypatch_module.chdir(served.workspace.root)
    champions.promote(served.workspace, served.record.tag)
    return served


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of every kind: files, cuts, channels, words, dialogues, speakers, and rows that fail."""
    folder = tmp_path_factory.mktemp("table")
    times = np.arange(6 * RATE) / RATE
    voices = [0.3 * np.sin(2 * np.pi * pitch * times) * (1 + np.sin(7 * times)) for pitch in (140.0, 260.0)]
    soundfile.write(folder / "call.wav", np.stack(voices, axis=1), RATE, "FLOAT")
    soundfile.write(folder / "call16.flac", np.stack(voices, axis=1), RATE, "PCM_16")
    (folder / "notes.wav").write_text("no audio")
    rows: list[dict[str, object]] = [
        {"audio": "call.wav", "start_s": 1.0, "end_s": 2.5, "channel": "right"},
        {"audio": "call.wav", "start_s": 0.5, "end_s": 2.0, "channel": 0, "text": '"how dare you"'},
        {"audio": "call16.flac", "start_s": 0.5, "end_s": 2.0},
        {"audio": "call16.flac", "end_s": 2.0, "channel": 1},
        {"audio": "call.wav", "channel": 3},
        {"audio": "call.wav", "start_s": 5.0, "end_s": 9.0},
        {"audio": "notes.wav"},
        {"audio": "absent.wav"},
        {"text": "   "},
        {"audio": "call.wav", "text": "naïve 😀"},
    ]
    for turn in range(4):
        who = ("ann", "bob", None, "ann")[turn]
        rows.append({"text": f"words number {turn}", "dialogue": "d", "turn": turn, "speaker": who})
    rows.append({"audio": "call.wav", "start_s": 1, "end_s": 2, "dialogue": "d", "turn": 4, "text": "and now"})
    for i in range(ENOUGH):
        rows.append({"audio": "call.wav", "start_s": i, "end_s": i + 1, "speaker": "O'Neil", "channel": 0})
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_every_kind_of_row_has_the_value_that_the_local_command_gives(project: Served, table: Path, capsys) -> None:
    sources = read_table(TableSource(table))
    local = list(answers(project.workspace, sources))
    with remote.connect(project.url, None) as client:
        asked = list(remote.answers(client, sources))
    assert len(local) == len(asked) == 20
    for mine, theirs in zip(local, asked, strict=True):
        assert theirs["source"] == mine["source"]
        assert (theirs["error"] is None) == (mine["error"] is None), (mine, theirs)
        if mine["error"] is None:
            assert theirs.pop("request_id")
            for field in ("probabilities", "attribution", "contribution", "consistency"):
                assert theirs.pop(field) == pytest.approx(mine.pop(field), abs=1e-6), (field, mine)
            assert theirs == mine
    assert [row["source"] for row in local if row["error"]] == [
        "call.wav#3", "call.wav@5", "notes.wav", "absent.wav", "row 9",
    ]  # fmt: skip
    assert {row["normalised_by"] for row in local[-ENOUGH:]} == {"speaker"}
    assert local[-ENOUGH - 1]["context_used"] == 2
    assert httpx.get(f"{project.url}/speakers").json()["kept"] == 0, "the service forgets the aliases"
    assert "level of the training data" not in capsys.readouterr().err


@installed
def test_automatic_words_are_read_as_by_the_local_command_also_as_context(project: Served, tmp_path: Path) -> None:
    spoken = package_file("package:moonshine_voice/assets/beckett.wav")
    sources = [
        Query("voice", spoken, None, dialogue="d", turn=0),
        Query("given", spoken, "other words", dialogue="d", turn=1),
        Query("words", None, "and now", dialogue="d", turn=2),
    ]
    local = list(answers(project.workspace, sources, "moonshine"))
    with remote.connect(project.url, None) as client:
        asked = list(remote.answers(client, sources, transcribe=True))
    assert [row["transcript"] and row["transcript"]["automatic"] for row in asked] == [True, None, None]
    assert [row["context_used"] for row in asked] == [0, 1, 2]
    for mine, theirs in zip(local, asked, strict=True):
        assert theirs["transcript"] == mine["transcript"]
        assert theirs["probabilities"] == pytest.approx(mine["probabilities"], abs=1e-6)
    with pytest.raises(ParamsError, match="a service uses its own"):
        predict([], "words", None, "json", None, transcriber="whisper", url=project.url)


def test_a_speaker_of_whom_the_service_hears_too_little_is_noted(project: Served, tmp_path: Path, capsys) -> None:
    (tmp_path / "a.flac").write_bytes(tone())
    with remote.connect(project.url, None) as client:
        (row,) = remote.answers(client, [Query("a", tmp_path / "a.flac", None, speaker="ann")])
    assert row["normalised_by"] == "training"
    assert "1 of 1 recordings with a speaker" in capsys.readouterr().err


def test_the_command_reports_failures_and_keeps_the_rest(project: Served, tmp_path: Path, capsys) -> None:
    for i in range(12):
        (tmp_path / f"clip{i:02}.flac").write_bytes(tone(pitch=120.0 + 10 * i))
    (tmp_path / "clip03.flac").write_bytes(b"fLaC")
    code = predict([str(tmp_path / "clip*.flac")], None, None, "csv", None, url=project.url)
    shown = capsys.readouterr()
    assert code == 1
    assert [line.partition(",")[0] for line in shown.out.splitlines()[1:]] == sorted(map(str, tmp_path.iterdir()))
    assert "progress predict 12/12" in shown.err
    assert "1 of 12 could not be predicted" in shown.err
    assert shown.err.count("clip03.flac") == 1
    assert predict([], "well done", None, "table", None, url=project.url) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == [
        "source",
        "emotion",
        "probability",
        "consistency",
        "used",
    ]


def test_only_the_cut_of_a_recording_is_sent(project: Served, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.flac", np.random.default_rng(1).uniform(-0.5, 0.5, 60 * RATE), RATE)
    (source,) = gather([str(tmp_path / "long.flac")], None, None)
    item = remote._asked(Query("cut", source.audio, None, start_s=3, end_s=4), 0, None, (), unnamed=False)
    samples, rate = soundfile.read(io.BytesIO(item.audio))
    whole, _ = soundfile.read(tmp_path / "long.flac")
    assert rate == RATE
    assert np.array_equal(samples, whole[3 * RATE : 4 * RATE])
