"""Validation end to end, on recordings made here: each defect is quarantined or refused, by name, and nothing is lost.

All tests that import Great Expectations are in this module, so that its import is paid once.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from lsgmer.audio import decode
from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace
from lsgmer.core.records import SPLITS
from lsgmer.features.store import FeatureSplit
from lsgmer.manifests.manifest import Manifest
from lsgmer.manifests.validated import ValidatedManifest
from lsgmer.params import Params, read_layers
from lsgmer.stages import features, manifest, validate
from lsgmer.validation.checker import Checker
from lsgmer.validation.rules import Rule, group_rules, kept_rules, row_rules
from tests.support import meld_release, tiny
from tests.support.faults import FAULTS
from tests.support.synthetic import ROOT, small_params

LABELS = ("angry", "happy", "neutral", "sad")
COLUMNS = ("id", "audio", "text", "emotion", "speaker", "session", "split", "end_s", "channel")
SETTINGS = (
    f"corpus.columns={{{', '.join(f'{name}: {name}' for name in COLUMNS)}}}",
    "validate.processes=1",
    "validate.max_rejected_share=0.3",
)
Rows = dict[str, dict[str, str]]


class Corpus:
    """A workspace with a clean table corpus of 36 utterances, to be spoilt and then validated."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.folder = root / "data/raw/sample"
        (self.folder / "audio").mkdir(parents=True)
        self.rows: Rows = {}
        for index in range(36):
            split = ("train", "train", "valid", "test")[index // 9]
            name = f"u{index:02}"
            self.speak(name, index)
            self.rows[name] = {
                "id": name,
                "audio": f"audio/{name}.flac",
                "text": f"sentence number {index}",
                "emotion": LABELS[index % 4],
                "speaker": f"{split}-{index % 2}",
                "session": split,
                "split": split,
            }

    def speak(self, name: str, seed: int, samples: Any = None, rate: int = 16000, kind: str = "flac") -> None:
        noise = np.random.default_rng(seed).normal(scale=0.1, size=8000).clip(-0.9, 0.9)
        soundfile.write(self.folder / "audio" / f"{name}.{kind}", noise if samples is None else samples, rate)

    def path(self, name: str, kind: str = "flac") -> Path:
        return self.folder / "audio" / f"{name}.{kind}"

    def validate(self, *overrides: str) -> dict[str, Any]:
        """Run both stages and return validation.json."""
        with (self.folder / "utterances.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="")
            writer.writeheader()
            writer.writerows(self.rows.values())
        params = small_params(*SETTINGS, *overrides)
        manifest.run(self.workspace, params)
        validate.run(self.workspace, params)
        return json.loads((self.workspace.data("validate") / "validation.json").read_text())

    def quarantine(self, folder: Path | None = None) -> dict[str, str]:
        with ((folder or self.workspace.data("validate")) / "quarantine.csv").open(newline="") as file:
            return {row["id"]: row["reasons"] for row in csv.DictReader(file)}

    def refusal(self, *overrides: str) -> tuple[str, Mapping[str, Any]]:
        """Demand that validation refuses; return its message and reports/validation.json."""
        with pytest.raises(LsgmerError) as said:
            self.validate(*overrides)
        assert not (self.workspace.data("validate") / "validated.parquet").exists()
        report = json.loads((self.workspace.reports / "validation.json").read_text())
        assert not report["passed"]
        return str(said.value), report


def broken(report: Mapping[str, Any], severity: str) -> set[str]:
    return {found["name"] for found in report["expectations"] if not found["success"] and found["severity"] == severity}


def finding(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next(found for found in report["expectations"] if found["name"] == name)


@pytest.fixture
def corpus(tmp_path):
    return Corpus(tmp_path / "w")


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """One corpus with every defect that a row can have, validated once."""
    made = Corpus(tmp_path_factory.mktemp("spoilt"))
    made.path("u00").write_bytes(b"this is no audio at all")
    made.speak("u01", 1, np.zeros(8000))
    made.speak("u02", 2, kind="wav")
    made.rows["u02"]["audio"] = "audio/u02.wav"
    whole = made.path("u02", "wav").read_bytes()
    made.path("u02", "wav").write_bytes(whole[: len(whole) // 2])
    made.path("u03").unlink()
    made.rows["u04"]["text"] = "Zażółć".encode().decode("latin-1")
    made.speak("u05", 5, np.random.default_rng(5).normal(scale=0.1, size=1600))
    made.speak("u06", 6, np.sign(np.random.default_rng(6).normal(size=8000)))
    made.speak("u07", 7, rate=4000)
    made.rows["u08"]["end_s"] = "7.5"
    made.rows["u09"] |= {"audio": "audio/u03.flac", "text": "I\x92m here"}
    made.rows["u10"]["audio"] = ""
    made.rows["u99"] = made.rows["u11"] | {"id": "u99", "emotion": "bored"}
    return made, made.validate("validate.max_rejected_share=0.4")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("u00", "undecodable: "),
        ("u01", "silent: 100% of it is over validate.max_silence_share"),
        ("u02", "truncated: the header promises 8000 frames, 39"),
        ("u03", "missing: there is no such file"),
        ("u04", "mojibake: "),
        ("u05", "too short: 0.10 s is under validate.min_duration_s"),
        ("u06", "clipped: 100% of it is over validate.max_clipping_share"),
        ("u07", "sample rate 4000 Hz is under validate.min_sample_rate"),
        ("u08", "cut: from 0 s to 7.5 s, but the recording is 0.50 s long"),
    ],
)
def test_a_row_at_fault_is_put_aside_with_its_reason(spoilt, name, reason):
    made, _ = spoilt
    assert reason in made.quarantine()[name]


def test_every_reason_is_given(spoilt):
    made, _ = spoilt
    assert made.quarantine()["u09"] == "missing: there is no such file; mojibake: " + (
        "it holds U+0092, a trace of a wrong encoding"
    )


def test_the_rest_goes_on_and_every_row_is_accounted_for(spoilt):
    made, report = spoilt
    kept = ValidatedManifest.load(made.workspace.data("validate"))
    assert sorted([*(u.id for u in kept.utterances), *made.quarantine()]) == [f"u{n:02}" for n in range(36)]
    assert set(kept.durations) == {u.id for u in kept.utterances} - {"u10"}
    assert kept.durations["u20"] == 0.5
    summary = report["summary"]
    assert (summary["utterances"], summary["kept"], summary["quarantined"], summary["rejected"]) == (36, 26, 10, 1)
    assert report["quarantined"]["audio_decodes"] == 3
    assert report["passed"]
    assert not broken(report, "critical")
    assert finding(report, "rejected_share")["unexpected"] == 11


@pytest.fixture(scope="module")
def meaningless(tmp_path_factory):
    """A corpus with every recording from which no emotion follows; 36 sound rows beside them."""
    made = Corpus(tmp_path_factory.mktemp("meaningless"))
    for place, (name, (content, _)) in enumerate(FAULTS.items()):
        made.path(f"fault-{place}", "wav").write_bytes(content)
        made.rows[name] = made.rows["u00"] | {"id": name, "audio": f"audio/fault-{place}.wav", "text": name}
    return made, made.validate()


@pytest.mark.parametrize("name", FAULTS)
def test_a_recording_that_serving_refuses_is_put_aside_with_the_same_reason(meaningless, name):
    made, _ = meaningless
    assert FAULTS[name][1] in made.quarantine()[name]


def test_only_the_meaningless_are_put_aside(meaningless):
    made, report = meaningless
    assert made.quarantine().keys() == FAULTS.keys()
    assert report["summary"]["kept"] == 36


def test_an_unknown_label_is_rejected_by_the_table(spoilt):
    made, _ = spoilt
    listed = (made.workspace.data("manifest") / "rejected.csv").read_text()
    assert "unknown emotion 'bored'" in listed


def test_the_profile_is_of_what_was_kept(spoilt):
    made, report = spoilt
    profile = json.loads((made.workspace.data("validate") / "profile.json").read_text())
    assert profile["splits"] == {split: report["summary"][split] for split in ("train", "valid", "test")}
    assert profile["histograms"]["duration_s"]["n"] == report["summary"]["train"] - 1


def test_the_docs_name_the_rows(spoilt):
    made, _ = spoilt
    docs = made.workspace.reports / "data_docs"
    assert (docs / "index.html").is_file()
    pages = [page.read_text() for page in docs.rglob("corpus-rows.html")]
    assert len(pages) == 1
    assert "u05" in pages[0]


def test_two_clones_write_the_same_bytes(corpus, tmp_path, capfd):
    corpus.validate()
    shutil.copytree(corpus.workspace.root, tmp_path / "other" / "clone")
    again = Workspace(tmp_path / "other" / "clone")
    validate.run(again, small_params(*SETTINGS, "validate.processes=2"))
    for file in sorted(corpus.workspace.data("validate").iterdir()):
        assert file.read_bytes() == (again.data("validate") / file.name).read_bytes(), file.name
    assert len(list((again.reports / "data_docs").rglob("corpus-rows.html"))) == 1
    shown = capfd.readouterr()
    assert "36 of 36 utterances kept" in shown.out
    assert "Calculating Metrics" not in shown.err


def test_a_speaker_in_two_splits_and_a_copied_recording_are_refused_together(corpus):
    corpus.rows["u35"]["speaker"] = "train-1"
    wave, rate = soundfile.read(corpus.path("u00"), dtype="int16")
    soundfile.write(corpus.path("u20", "wav"), wave, rate)
    corpus.rows["u20"] |= {"audio": "audio/u20.wav"}
    corpus.rows["u21"]["text"] = "Sentence  NUMBER 1"
    message, report = corpus.refusal()
    assert broken(report, "critical") == {"speaker_in_one_split", "audio_in_one_split"}
    assert finding(report, "speaker_in_one_split")["examples"] == ["train-1"]
    assert finding(report, "audio_in_one_split")["examples"] == ["u00", "u20"]
    assert "text_in_one_split" in broken(report, "warning")
    assert finding(report, "text_in_one_split")["examples"] == ["u01", "u21"]
    for said in ("train-1", "u00, u20", "set manifest.split to speaker", "one copy", "validation.json"):
        assert said in message


def test_a_session_in_two_splits_is_refused_where_sessions_are_split(corpus):
    corpus.rows["u35"]["session"] = "train"
    assert corpus.validate()["passed"]
    params = small_params(*SETTINGS, "manifest.split=session")
    with pytest.raises(LsgmerError, match=r"session_in_one_split: \d+ of 36 rows, such as train;"):
        validate.run(corpus.workspace, params)


def test_wrong_counts_and_a_label_without_training_data_are_refused(corpus):
    for row in corpus.rows.values():
        if row["emotion"] == "sad" and row["split"] == "train":
            row["emotion"] = "happy"
    message, report = corpus.refusal("corpus.expected_counts={angry: 9, sad: 9}")
    assert broken(report, "critical") == {"expected_counts", "labels_in_train"}
    assert finding(report, "expected_counts")["examples"] == ["label sad"]
    assert "corpus.expected_counts" in message


def test_too_many_lost_rows_are_refused_and_a_good_run_clears_the_report(corpus):
    kept = corpus.path("u05").read_bytes()
    corpus.path("u05").write_bytes(b"")
    corpus.rows["bad"] = corpus.rows["u06"] | {"id": "bad", "emotion": "bored"}
    message, report = corpus.refusal("validate.max_rejected_share=0.05")
    assert broken(report, "critical") == {"rejected_share"}
    for said in ("2 of 37 rows", "u05 (empty", "unknown emotion 'bored'", "raise validate.max_rejected_share"):
        assert said in message
    assert set(corpus.quarantine(corpus.workspace.reports)) == {"u05"}
    corpus.path("u05").write_bytes(kept)
    report = corpus.validate("validate.max_rejected_share=0.05", "corpus.label_map={bored: null}")
    assert report["summary"]["left_out"] == 1
    assert finding(report, "rejected_share")["unexpected"] == 0
    assert not (corpus.workspace.reports / "validation.json").exists()


def test_when_no_row_is_left_it_still_says_why(corpus):
    shutil.rmtree(corpus.folder / "audio")
    message, report = corpus.refusal()
    assert {"rejected_share", "splits_filled", "labels_in_train"} <= broken(report, "critical")
    assert "missing: there is no such file" in message


def test_a_corpus_of_words_alone_is_fine(corpus):
    for row in corpus.rows.values():
        row["audio"] = ""
    report = corpus.validate("corpus.columns={id: id, text: text, emotion: emotion, speaker: speaker, split: split}")
    assert report["passed"]
    assert not broken(report, "critical")
    assert finding(report, "duration")["tested"] == 0


def test_shares_under_their_limits_are_warnings(corpus):
    report = corpus.validate("validate.min_class_share=0.9", "validate.min_split_share=0.3")
    assert report["passed"]
    assert broken(report, "warning") == {"class_shares", "split_shares"}
    assert finding(report, "split_shares")["examples"] == ["split test", "split valid"]


def test_labels_that_changed_since_the_manifest_are_refused(corpus):
    corpus.validate()
    other = small_params(*SETTINGS, "corpus.labels=[{name: sad, description: s}, {name: happy, description: h}]")
    with pytest.raises(LsgmerError, match=r"corpus.labels says \['sad', 'happy'\]"):
        validate.run(corpus.workspace, other)


def test_an_expectation_that_cannot_run_is_critical(tmp_path):
    import pandas as pd

    rule = Rule("odd", "ExpectColumnValuesToBeNull", {"column": "nowhere"}, "warning", "mend it")
    (outcome,) = Checker(tmp_path).check("odd", pd.DataFrame({"id": ["a"]}), [rule])
    assert (outcome.finding.success, outcome.finding.severity) == (False, "critical")
    assert "nowhere" in outcome.finding.examples[0]


@pytest.mark.parametrize("split", ["session", "official"])
def test_rules_have_names_of_their_own_and_a_remedy(split):
    params = small_params()
    rules = [*row_rules(params.validate_, params.corpus.label_set), *kept_rules(split), *group_rules(params.validate_)]
    assert len({rule.name for rule in rules}) == len(rules)
    assert all(rule.remedy for rule in rules)


def meld_workspace(root: Path, *overrides: str, dev: list[dict[str, str]] | None = None) -> tuple[Workspace, Params]:
    """A workspace with a small MELD, its manifest made; the counts of the real one are not demanded of it."""
    meld_release.write(root / "meld", {"dev": dev or meld_release.rows("dev")})
    settings = ("corpus.path=meld", "corpus.expected_counts={}", "validate.processes=1", *overrides)
    _, params = read_layers(ROOT / "params.yaml", ROOT / "params" / "meld.yaml", settings)
    workspace = Workspace(root)
    manifest.run(workspace, params)
    return workspace, params


def report_of(workspace: Workspace) -> dict[str, Any]:
    return json.loads((workspace.data("validate") / "validation.json").read_text())


def test_shared_speakers_of_an_official_split_are_a_warning_that_says_why(tmp_path, capsys):
    dev = meld_release.rows("dev")
    dev[0]["Utterance"] = "It\x92s mended."
    workspace, params = meld_workspace(tmp_path, dev=dev)
    validate.run(workspace, params)
    report = report_of(workspace)
    assert report["passed"]
    assert not broken(report, "critical")
    found = finding(report, "speaker_in_one_split")
    assert (found["success"], found["severity"], found["unexpected"]) == (False, "warning", 42)
    assert found["examples"] == ["Ada", "Bo", "Cy"]
    assert found["remedy"] == "the official split shares speakers; numbers are not speaker-independent"
    assert finding(report, "dialogue_in_one_split")["severity"] == "critical"
    shown = capsys.readouterr().out
    assert "the official split shares speakers; numbers are not speaker-independent" in shown
    assert (
        "manifest:   note: 1 x text mended: Windows-1252 characters that stood as U+0080 to U+009F: dev-dia0" in shown
    )
    assert not report["quarantined"]  # mended, so that no row is lost to mojibake


def test_a_dialogue_in_two_splits_is_refused_under_an_official_split(tmp_path):
    workspace, params = meld_workspace(tmp_path)
    made = Manifest.load(workspace.data("manifest"))
    torn = [replace(u, split="test") if u.id == "train-dia1_utt12" else u for u in made.utterances]
    Manifest(tuple(torn), made.labels, made.corpus).save(workspace.data("manifest"))
    with pytest.raises(LsgmerError, match=r"dialogue_in_one_split: 7 of 42 rows, such as train-dia1;"):
        validate.run(workspace, params)


def test_a_given_split_stays_strict_about_speakers(tmp_path):
    workspace, params = meld_workspace(tmp_path, "manifest.split=given")
    with pytest.raises(LsgmerError, match=r"speaker_in_one_split: 42 of 42 rows, such as Ada, Bo, Cy"):
        validate.run(workspace, params)


def test_a_count_that_is_not_the_corpuss_is_refused_and_names_the_label(tmp_path):
    workspace, params = meld_workspace(tmp_path, "corpus.expected_counts={neutral: 6, joy: 7, fear: 6}")
    with pytest.raises(LsgmerError, match=r"expected_counts: 1 of \d+ rows, such as label joy;"):
        validate.run(workspace, params)


def test_a_clip_without_audio_is_put_aside_by_name_and_copies_in_an_official_split_are_told(tmp_path):
    (tmp_path / "meld/wav/dev").mkdir(parents=True)
    for official in meld_release.OFFICIAL:
        (tmp_path / "meld/wav" / official).mkdir(exist_ok=True)
        for number, row in enumerate(meld_release.rows(official)):
            wave = np.random.default_rng([number, *official.encode()]).normal(scale=0.1, size=8000).clip(-0.9, 0.9)
            name = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}.wav"
            soundfile.write(tmp_path / "meld/wav" / official / name, wave, 16000)
    shutil.copy(tmp_path / "meld/wav/train/dia1_utt0.wav", tmp_path / "meld/wav/test/dia1_utt0.wav")
    (tmp_path / "meld/wav/dev/dia0_utt0.wav").unlink()
    soundfile.write(tmp_path / "meld/wav/test/dia0_utt2.wav", np.zeros(0), 16000)
    workspace, params = meld_workspace(tmp_path, "corpus.clips=wav")
    validate.run(workspace, params)
    with (workspace.data("validate") / "quarantine.csv").open(newline="") as file:
        aside = {row["id"]: row["reasons"] for row in csv.DictReader(file)}
    assert set(aside) == {"dev-dia0_utt0", "test-dia0_utt2"}
    assert aside["dev-dia0_utt0"] == "missing: there is no such file"
    report = report_of(workspace)
    assert report["summary"]["kept"] == 40
    copies = finding(report, "audio_in_one_split")  # the real partition has some: a warning, or it could not be used
    assert (copies["severity"], copies["examples"]) == ("warning", ["test-dia1_utt0", "train-dia1_utt0"])


def test_channels_are_told_apart_and_mixing_them_is_looked_at(corpus):
    voices = np.random.default_rng(50).normal(scale=0.1, size=(4, 8000)).clip(-0.4, 0.4)
    corpus.speak("call", 0, voices[:2].T)
    corpus.speak("other", 0, voices[2:].T)
    corpus.speak("inverted", 0, np.stack([voices[0], -voices[0]], axis=1))
    for name, (audio, channel) in {
        "u00": ("call", "left"),  # with u01: one file, two utterances of one split, no copy
        "u01": ("call", "1"),
        "u02": ("call", "2"),
        "u03": ("inverted", ""),
        "u04": ("other", ""),
    }.items():
        corpus.rows[name] |= {"audio": f"audio/{audio}.flac", "channel": channel}
    report = corpus.validate()
    quarantined = corpus.quarantine()
    assert quarantined["u02"] == "channel: there is no channel 2; the recording has 2 channels, 0 to 1"
    assert quarantined["u03"].startswith("channels cancel out")
    assert "name one (channel)" in quarantined["u03"]
    assert set(quarantined) == {"u02", "u03"}
    assert broken(report, "warning") >= {"channels_cancel", "channels_differ"}
    assert finding(report, "channels_cancel")["examples"] == ["u03"]
    assert finding(report, "channels_differ")["examples"] == ["u04"]
    assert "corpus.columns.channel" in finding(report, "channels_differ")["remedy"]
    kept = {u.id: u.channel for u in ValidatedManifest.load(corpus.workspace.data("validate")).utterances}
    assert (kept["u00"], kept["u01"], kept["u04"]) == (0, 1, None)

    corpus.speak("alone", 0, voices[1])  # channel 1 of the call, in another split
    corpus.rows["u30"]["audio"] = "audio/alone.flac"
    shutil.rmtree(corpus.workspace.data("validate"))
    message, _ = corpus.refusal()
    assert "audio_in_one_split: 2 of" in message
    assert "u01, u30" in message


def test_a_corpus_of_two_channel_calls_goes_from_turn_files_to_features(tmp_path):
    workspace, params = Workspace(tmp_path), call_params(tmp_path, write_calls(tmp_path / "calls"))
    manifest.run(workspace, params)
    rejected = (workspace.data("manifest") / "rejected.csv").read_text()
    assert "c0.flac,\"00:00.00-00:00.50 (c0.rttm line 1, turn 1)\",has 2 emotions: 'angry' and 'sad'" in rejected
    validate.run(workspace, params)
    with (workspace.data("validate") / "quarantine.csv").open(newline="") as file:
        (aside,) = csv.DictReader(file)
    assert (aside["id"], aside["audio"], aside["cut"]) == ("c1@1.400/agent", "c1.flac", "00:01.40-00:09.00")
    report = report_of(workspace)
    named = "c1@1.400/agent [c1.flac 00:01.40-00:09.00]"
    assert finding(report, "cut_within_file")["examples"] == [named]
    assert any(example.startswith(f"{named} (cut: ") for example in finding(report, "rejected_share")["examples"])
    pages = [page.read_text() for page in (workspace.reports / "data_docs").rglob("*.html")]
    assert any("c1.flac 00:01.40-00:09.00" in page for page in pages)
    features.run(workspace, params)
    kept = ValidatedManifest.load(workspace.data("validate")).utterances
    assert len(kept) == 6 * 4 - 2  # one has two emotions, one ends after its recording
    for split in SPLITS:
        made = FeatureSplit.load(workspace.data("features") / split)
        assert set(made.ids) == {u.id for u in kept if u.split == split}
        assert {name.partition("@")[0] for name in made.ids}.isdisjoint(
            u.session for u in kept if u.split != split
        )  # a call is in one split as a whole
    voices = {u.id: decode(tmp_path / "calls" / u.audio, u.start_s, u.end_s, channel=u.channel).samples for u in kept}
    agent, customer = voices["c2@0.000/agent"], voices["c2@0.400/customer"]  # from 0.4 to 0.5 s both speak
    assert np.std(agent) == pytest.approx(0.05, rel=0.1)
    assert np.std(customer) == pytest.approx(0.1, rel=0.1)


def write_calls(folder: Path) -> Path:
    """Write six calls, the agent on the left and half as loud, with RTTM beside them and a table of emotions."""
    folder.mkdir()
    table = [f"c{call},{turn},{LABELS[turn - 1]}" for call in range(6) for turn in range(1, 5)]
    for call in range(6):
        noise = np.random.default_rng(call).normal(scale=[0.05, 0.1], size=(32000, 2)).clip(-0.9, 0.9)
        soundfile.write(folder / f"c{call}.flac", noise, 16000)
        turns = [("agent", 0.0, 0.5), ("customer", 0.4, 0.6), ("agent", 1.0, 0.4), ("agent", 1.4, 0.5)]
        (folder / f"c{call}.rttm").write_text(
            "".join(f"SPEAKER c{call} 1 {at} {lasts} <NA> <NA> {who} <NA> <NA>\n" for who, at, lasts in turns)
        )
    (folder / "emotions.csv").write_text("\n".join(["call,turn,emotion", *table, "c0,1,sad"]))
    beyond = (folder / "c1.rttm").read_text().replace("1.4 0.5", "1.4 7.6")
    (folder / "c1.rttm").write_text(beyond)
    return folder


def call_params(root: Path, folder: Path) -> Params:
    tiny.save_roberta(root / "r")
    text = ("features.text.source=r", "features.text.sha256=null", "features.text.max_tokens=16")
    rest = ("validate.max_rejected_share=0.2", "validate.processes=1", "runtime.device=cpu", "manifest.salt=lsgmer-2")
    audio = "features.audio={kind: logmel, n_mels: 8, hop_ms: 40.0}"
    changes = [f"corpus.path={folder.name}", "corpus.expected_counts={}", audio, *text, *rest]
    return read_layers(ROOT / "params.yaml", ROOT / "params/calls.yaml", changes)[1]
