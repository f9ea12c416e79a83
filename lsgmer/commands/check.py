"""`lsgmer check`: what a run would make of a corpus, in seconds; starts neither Prefect nor torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lsgmer.core.errors import ExitCode, LsgmerError
from lsgmer.core.paths import Workspace
from lsgmer.core.records import SPLITS
from lsgmer.corpora.readers import read_corpus
from lsgmer.manifests.splits import assign_splits, demand_every_split
from lsgmer.manifests.utterance import CorpusReading, RejectedRow, Utterance, is_left_out
from lsgmer.params import Params, read_layers
from lsgmer.validation.facts import audio_facts
from lsgmer.validation.frame import text_damage

MOST_FILES = 2000  # whose audio is read; of more, every k-th
SHOWN = 5
# CPU seconds per second of audio, and per text, on one core of a Xeon: docs/models.md.
AUDIO_COST = {"logmel": 0.0014, "speech_lstm": 0.0053, "moonshine": 0.0089}
TEXT_COST = 0.007


def check(params_file: Path | None, overrides: Sequence[str], table: Path | None) -> int:
    """Print what a run would find: rows, labels, speakers, splits, audio and cost. Return ERROR where it would fail.

    Raises LsgmerError for parameters, a table or columns that cannot be read.
    """
    workspace = Workspace(Path.cwd())
    extra = [f"corpus.path={table.parent}", f"corpus.table={table.name}"] if table else []
    _, params = read_layers(workspace.params, params_file, [*overrides, *extra])
    root = workspace.root / params.corpus.path
    if params.corpus.synthesize and not root.is_dir():
        print(f"{params.corpus.path}: made by the first run; nothing to check yet")
        return ExitCode.DONE
    reading = read_corpus(params.corpus, root)
    defects = _rows(reading)
    utterances, split_problem = _splits(reading, params)
    faulty, share, seconds = _contents(utterances, root, params)
    _cost(utterances, seconds, params)
    lost = len(defects) + len(faulty) / share
    problems = []
    if lost > params.validate_.max_rejected_share * (len(utterances) + len(defects)):
        commonest = Counter([*(row.reason for row in defects), *faulty.values()]).most_common(1)[0]
        about = "about " if share < 1 else ""
        problems.append(
            f"{about}{lost:.0f} of {len(utterances) + len(defects)} rows are rejected or faulty, more than "
            f"validate.max_rejected_share ({params.validate_.max_rejected_share:g}); {commonest[1]} x {commonest[0]}"
        )
    if split_problem:
        problems.append(split_problem)
    for problem in problems:
        print(f"problem   {problem}")
    print("\na run would fail: see the problems above" if problems else "\nnext  lsgmer run")
    return ExitCode.ERROR if problems else ExitCode.DONE


def _rows(reading: CorpusReading) -> list[RejectedRow]:
    """Print what was read and what was rejected; return the rejected rows that were not left out on purpose."""
    defects = [row for row in reading.rejected if not is_left_out(row)]
    left_out = len(reading.rejected) - len(defects)
    print(f"rows      {len(reading.utterances)} usable, {len(defects)} rejected, {left_out} left out by the label map")
    several = len({row.source for row in defects}) > 1
    for reason, count in Counter(row.reason for row in defects).most_common(SHOWN):
        same = (row for row in defects if row.reason == reason)
        where = ", ".join(f"{row.source} {row.row}" if several else row.row for row in same)
        print(f"rejected  {count} x {reason}: {_cut(where)}")
    for note in reading.notes:
        print(f"note      {len(note.rows)} x {note.what}: {_cut(', '.join(note.rows))}")
    return defects


def _splits(reading: CorpusReading, params: Params) -> tuple[Sequence[Utterance], str | None]:
    """Print labels, speakers and splits; return the utterances with their split, and what is wrong with the splits."""
    utterances: Sequence[Utterance] = reading.utterances
    counts = Counter(u.emotion for u in utterances)
    print("labels    " + ", ".join(f"{name} {counts[name]}" for name in params.corpus.label_set.names))
    print(f"speakers  {len({u.speaker for u in utterances})}")
    if not utterances:
        return utterances, "no row can be used"
    if absent := [name for name in params.corpus.label_set.names if not counts[name]]:
        return utterances, f"no row has the label {' or '.join(absent)}: see corpus.label_map and corpus.labels"
    try:
        utterances = assign_splits(sorted(utterances, key=lambda u: u.id), params.manifest)
        demand_every_split(utterances, params.manifest)
    except LsgmerError as error:
        return reading.utterances, str(error)
    for split in SPLITS:
        part = [u for u in utterances if u.split == split]
        print(f"{split:<9} {len(part)} utterances of {len({u.speaker for u in part})} speakers")
    trained = {u.emotion for u in utterances if u.split == "train"}
    lacking = [name for name in params.corpus.label_set.names if name not in trained]
    if lacking:
        return utterances, f"the training split has no {' and no '.join(lacking)}"
    expected = {name: count for name, count in params.corpus.expected_counts.items() if counts[name] != count}
    if expected:
        told = ", ".join(f"{name} {counts[name]} instead of {count}" for name, count in expected.items())
        return utterances, f"corpus.expected_counts: {told}"
    return utterances, None


def _contents(utterances: Sequence[Utterance], root: Path, params: Params) -> tuple[dict[str, str], float, float]:
    """Print durations and what is wrong with audio and texts.

    Returns the faults by utterance (the first of each), the share of the recordings that were read, and the seconds of
    all, estimated from those.
    """
    limits, spoken = params.validate_.audio_limits, [u for u in utterances if u.audio is not None]
    sample = spoken[:: -(-len(spoken) // MOST_FILES) or 1]
    share = len(sample) / len(spoken) if spoken else 1.0
    known = audio_facts(sample, root, params.validate_.processes) if sample else {}
    faults = {u.id: "mojibake in its text" for u in utterances if u.text and text_damage(u.text)}
    for name, fact in known.items():
        told = [fact.error] if fact.error else list(limits.breaches(asdict(fact)).values())
        if told:
            faults[name] = told[0].partition(":")[0]  # without its numbers, so that equal faults are counted together
    seconds = sorted(fact.duration_s for fact in known.values() if fact.duration_s is not None)
    whole = sum(seconds) / share
    if seconds:
        shown = f"{seconds[0]:.1f} to {seconds[-1]:.1f} s, {seconds[len(seconds) // 2]:.1f} s in the middle"
        about = f" (about; {len(sample)} of {len(spoken)} files were read)" if share < 1 else ""
        print(f"audio     {whole / 3600:.2f} hours, {shown}{about}")
    for reason, count in Counter(faults.values()).most_common():
        named = ", ".join(name for name, told in faults.items() if told == reason)
        print(f"faulty    {count} x {reason}: {_cut(named)}")
    return faults, share, whole


def _cost(utterances: Sequence[Utterance], seconds: float, params: Params) -> None:
    """Print about how long encoding takes on one core, from measurements in docs/models.md."""
    audio = params.features.audio
    parts = audio if isinstance(audio, tuple) else (audio,)
    texts = sum(bool(u.text) for u in utterances) if params.features.text.kind != "none" else 0
    minutes = (sum(AUDIO_COST.get(part.kind, 0.0) for part in parts) * seconds + texts * TEXT_COST) / 60
    kinds = " + ".join(part.kind for part in parts)
    unknown = " and what a speech transformer takes" if any(part.kind == "transformers" for part in parts) else ""
    words = f"audio by {kinds}, {texts} texts by {params.features.text.kind}"
    print(f"features  {words}: about {minutes:.1f} CPU minutes{unknown}")


def _cut(names: str) -> str:
    return names if len(names) <= 80 else names[:77] + "..."
