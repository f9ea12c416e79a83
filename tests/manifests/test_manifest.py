"""The manifest on disk: the same rows give the same bytes, and what was changed since is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from lsgmer.audio import AudioFacts
from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.core.paths import Workspace
from lsgmer.core.records import Label, Labels, digest
from lsgmer.manifests.manifest import Manifest, load_rejected
from lsgmer.manifests.parquet import read_utterances
from lsgmer.manifests.utterance import Note, RejectedRow, Utterance, is_left_out
from lsgmer.manifests.validated import ValidatedManifest, ValidationReport, write_validated
from lsgmer.stages.manifest import run
from tests.support.synthetic import small_params

LABELS = Labels(items=(Label(name="sad", description="low"), Label(name="happy", description="bright")))
REPORT = ValidationReport(passed=True, summary={}, quarantined={}, expectations=(), manifest_hash="m")


def utterance(name="u1", **fields):
    made = {"corpus": "table", "speaker": "s", "emotion_raw": "traurig", "emotion": "sad", "split": "train"}
    return Utterance(**{"id": name, **made, "text": "ą", **fields})


FULL = utterance(
    "u2", session="1", dialogue="d", turn=3, sex="female", audio="a/b.flac", start_s=0.5, end_s=1.25,
    tags=("x", "y"), numbers={"valence": 2.5, "activation": 1.0},
)  # fmt: skip
MANIFEST = Manifest((utterance(), FULL), LABELS, "table")


def test_everything_survives_the_disk(tmp_path):
    MANIFEST.save(tmp_path)
    assert Manifest.load(tmp_path, LABELS) == MANIFEST


printable = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
optional = st.none() | printable


@given(
    rows=st.lists(
        st.builds(
            utterance,
            name=printable,
            text=optional,
            session=optional,
            turn=st.none() | st.integers(-5, 9999),
            audio=optional,
            start_s=st.none() | st.floats(0, 1e5),
            channel=st.none() | st.integers(0, 7),
            tags=st.lists(printable, max_size=3).map(tuple),
            numbers=st.dictionaries(printable, st.floats(-10, 10), max_size=3),
        ),
        max_size=6,
    )
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rows_survive_the_disk(tmp_path, rows):
    made = Manifest(tuple(rows), LABELS, "table")
    made.save(tmp_path)
    assert Manifest.load(tmp_path) == made


def test_a_channel_is_part_of_a_row_and_leaves_rows_without_one_as_they_are(tmp_path):
    MANIFEST.save(tmp_path / "without")
    assert "channel" not in parquet.read_schema(tmp_path / "without" / "manifest.parquet").names
    assert MANIFEST.content_hash == "99169e8af785a849692349ab2df742b70d6e803cb477635b7fa18e16c10a377c"
    sides = [Manifest((utterance(), replace(FULL, channel=side)), LABELS, "table") for side in (0, 1)]
    assert len({MANIFEST.content_hash, *(made.content_hash for made in sides)}) == 3
    for made in sides:
        made.save(tmp_path / "with")
        assert Manifest.load(tmp_path / "with", LABELS) == made


def test_the_same_rows_give_the_same_bytes(tmp_path):
    again = Manifest((utterance(), replace(FULL, numbers=dict(reversed(FULL.numbers.items())))), LABELS, "table")
    for folder, made in (("a", MANIFEST), ("b", again)):
        made.save(tmp_path / folder, [RejectedRow("t.csv", "row 3", "no emotion, at all")])
    for name in ("manifest.parquet", "rejected.csv", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert str(tmp_path).encode() not in (tmp_path / "a" / "manifest.parquet").read_bytes()


@pytest.mark.parametrize(
    "changed",
    [
        replace(MANIFEST, utterances=(FULL, utterance())),
        replace(MANIFEST, utterances=(utterance(), replace(FULL, emotion="happy"))),
        replace(MANIFEST, labels=Labels(items=LABELS.items[::-1])),
        replace(MANIFEST, corpus="meld"),
    ],
)
def test_the_content_hash_sees_rows_order_labels_and_corpus(changed):
    assert changed.content_hash != MANIFEST.content_hash


def test_rejected_rows_are_listed_and_counted(tmp_path):
    rows = (
        RejectedRow("t.csv", "row 3", 'a "b",\nc'),
        RejectedRow("t.csv", "row 4", "'x' is left out by corpus.label_map"),
    )
    MANIFEST.save(tmp_path, rows)
    assert load_rejected(tmp_path) == rows
    assert [is_left_out(row) for row in rows] == [False, True]
    card = json.loads((tmp_path / "manifest.json").read_text())
    assert (card["rejected"], card["left_out"], card["splits"]) == (2, 1, {"train": 2, "valid": 0, "test": 0})
    assert card["labels"]["train"] == {"sad": 2, "happy": 0}
    assert card["content_hash"] == MANIFEST.content_hash


def test_notes_name_every_row(tmp_path):
    MANIFEST.save(tmp_path, (), (Note("text mended", ("u1", "u2")), Note("words only: silent", ("u2",))))
    card = json.loads((tmp_path / "manifest.json").read_text())
    assert card["notes"] == {"text mended": ["u1", "u2"], "words only: silent": ["u2"]}


def test_other_labels_than_the_params_say_are_an_error(tmp_path):
    MANIFEST.save(tmp_path)
    with pytest.raises(LsgmerError, match=r"labels are \['sad', 'happy'\], corpus.labels says \['happy', 'sad'\]"):
        Manifest.load(tmp_path, Labels(items=LABELS.items[::-1]))


def test_rows_that_were_changed_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(Manifest, "content_hash", "0" * 64)
    MANIFEST.save(tmp_path)
    monkeypatch.undo()
    with pytest.raises(LsgmerError, match=r"rows do not match its content hash; run `dvc repro manifest`"):
        Manifest.load(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 but not really PAR1"])
def test_a_file_that_is_no_manifest_says_what_to_run(tmp_path, content):
    if content is not None:
        (tmp_path / "manifest.parquet").write_bytes(content)
    with pytest.raises(LsgmerError, match=r"manifest.parquet: .*run `dvc repro manifest`"):
        Manifest.load(tmp_path)
    with pytest.raises(LsgmerError, match=r"rejected.csv: not readable"):
        load_rejected(tmp_path)


def validated(folder: Path) -> ValidationReport:
    facts = {"u2": AudioFacts(sample_rate=16000, duration_s=0.75, sha256="a" * 64)}
    return write_validated(folder, MANIFEST, facts, REPORT)


def test_a_validated_manifest_knows_durations_and_its_own_hash(tmp_path):
    report = validated(tmp_path)
    found = ValidatedManifest.load(tmp_path, LABELS)
    assert (found.utterances, found.labels, found.corpus) == (MANIFEST.utterances, LABELS, "table")
    assert found.durations == {"u2": 0.75}
    assert found.sha256 == report.validated_sha256 == file_sha256(tmp_path / "validated.parquet")
    assert read_utterances(tmp_path / "validated.parquet", "")[1]["u2"].sample_rate == 16000


def test_one_flipped_byte_is_refused(tmp_path):
    validated(tmp_path)
    path = tmp_path / "validated.parquet"
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(LsgmerError, match=r"validated.parquet: its sha256 is .*changed since; run `dvc repro val"):
            ValidatedManifest.load(tmp_path)
    path.write_bytes(whole)
    ValidatedManifest.load(tmp_path)


def test_a_verdict_that_is_not_passed_or_not_there_is_refused(tmp_path):
    validated(tmp_path)
    verdict = tmp_path / "validation.json"
    passed = json.loads(verdict.read_text())
    verdict.write_text(json.dumps(passed | {"passed": False}))
    with pytest.raises(LsgmerError, match="did not pass"):
        ValidatedManifest.load(tmp_path)
    verdict.write_text("{")
    with pytest.raises(LsgmerError, match="not readable as ValidationReport"):
        ValidatedManifest.load(tmp_path)
    verdict.write_text(json.dumps(passed))
    (tmp_path / "validated.parquet").unlink()
    with pytest.raises(LsgmerError, match="sha256 is missing"):
        ValidatedManifest.load(tmp_path)


def test_what_did_not_pass_cannot_become_validated(tmp_path):
    with pytest.raises(LsgmerError, match="did not pass"):
        write_validated(tmp_path, MANIFEST, {}, REPORT.model_copy(update={"passed": False}))
    assert not list(tmp_path.iterdir())


def test_the_stage_turns_a_table_into_a_manifest(tmp_path, capsys):
    corpus = tmp_path / "data/raw/sample"
    corpus.mkdir(parents=True)
    rows = [f"u{n},Text {n},{'sad' if n % 2 else 'angry'},s{n % 9},train" for n in range(18)]
    rows += ["u98,Text,bored,s1,train", "u99,Text,,s1,train"]
    (corpus / "utterances.csv").write_text("\n".join(["id,text,emotion,speaker,split", *rows]) + "\n")
    params = small_params(
        "corpus.columns={id: id, text: text, emotion: emotion, speaker: speaker, split: split}",
        "manifest.split=speaker",
        "corpus.label_map={bored: null}",
    )
    run(Workspace(tmp_path), params)
    made = Manifest.load(tmp_path / "data/manifest", params.corpus.label_set)
    assert [u.id for u in made.utterances] == sorted(f"u{n}" for n in range(18))
    assert {u.split for u in made.utterances} == {"train", "valid", "test"}
    rejected = load_rejected(tmp_path / "data/manifest")
    assert [is_left_out(row) for row in rejected] == [True, False]
    assert "18 utterances" in capsys.readouterr().out


def test_a_row_without_copies_is_the_row_that_was_always_hashed():
    """Manifests written before `as_row` keep their content hash."""
    one = Utterance("a", "c", "s", "x", "happy", "train", tags=("noisy",), numbers={"valence": 0.5}, channel=1)
    assert one.as_row() == asdict(one)
    assert digest(one.as_row()) == digest(asdict(one))
