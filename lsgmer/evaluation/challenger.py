"""Challenger against champion, on the test utterances of speakers that neither was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace
from lsgmer.core.records import read_record
from lsgmer.evaluation.params import EvaluationSections
from lsgmer.evaluation.raw import RawReader, readable
from lsgmer.evaluation.records import Incumbent, IncumbentComparison
from lsgmer.features.store import FeatureSplit
from lsgmer.inference.outputs import predict_split
from lsgmer.inference.predictor import Predictor
from lsgmer.manifests.validated import ValidatedManifest
from lsgmer.metrics import paired_bootstrap
from lsgmer.model import checkpoint
from lsgmer.model.train_card import TrainCard, load_card, speaker_digest

Array = np.ndarray[Any, Any]
BATCH = 64  # utterances per batch of the model


@dataclass(frozen=True, slots=True)
class Challenger:
    """The new model's card and its predicted class indices (N,) for every utterance of `test`."""

    card: TrainCard
    guess: Array
    test: FeatureSplit


def compare(
    workspace: Workspace, params: EvaluationSections, manifest: ValidatedManifest, new: Challenger
) -> IncumbentComparison | None:
    """Return balanced accuracy of challenger minus champion, or None when there is no champion.

    If the two cannot be compared, the difference is None and the reason says why; the gate's verdict is then HOLD.
    Raises LsgmerError when data/incumbent is unreadable or its weights do not match its card.
    """
    folder = workspace.data("incumbent")
    incumbent = read_incumbent(folder)
    if incumbent.champion is None:
        return None
    card = load_card(folder)
    rows = unheard(new.test, new.card, card)
    reason = why_not_comparable(card, new.test, rows)
    if reason is None:
        try:
            guess, rows = champion_guess(workspace, params, manifest, new.test, rows)
        except _Unusable as error:
            reason = str(error)
    if reason is None and not len(rows):
        reason = "none of the utterances has what the champion reads"
    return _comparison(incumbent.champion, params, new, rows, None if reason else guess, reason or "compared")


def read_incumbent(folder: Path) -> Incumbent:
    """Return the record in data/incumbent. Raises LsgmerError when it is missing or unreadable."""
    return read_record(folder / "incumbent.json", Incumbent, "run `dvc repro incumbent`")


def unheard(test: FeatureSplit, *cards: TrainCard) -> list[int]:
    """Return the rows of `test` whose speakers were unseen in training, of every model in `cards`."""
    seen = {speaker for card in cards for speaker in card.seen_speakers}
    return [row for row, speaker in enumerate(test.speakers) if speaker_digest(speaker) not in seen]


def why_not_comparable(champion: TrainCard, test: FeatureSplit, rows: Sequence[int]) -> str | None:
    """Return why the two models cannot be compared, or None."""
    if champion.labels.names != test.label_set.names:
        return f"its labels are {', '.join(champion.labels.names)}, now they are {', '.join(test.label_set.names)}"
    return None if len(rows) else "no test utterance is of a speaker that is new to both models"


def shares_features(champion: TrainCard, test: FeatureSplit) -> bool:
    """Say whether the feature store holds, bit for bit, what the champion's encoders would produce."""
    reads_audio = champion.encoders.get("audio") is not None
    if reads_audio and champion.normalise != test.normalise:
        return False
    return all(
        spec is None or ((ours := test.specs.get(name)) is not None and ours.fingerprint == spec.fingerprint)
        for name, spec in champion.encoders.items()
    )


def champion_guess(
    workspace: Workspace,
    params: EvaluationSections,
    manifest: ValidatedManifest,
    test: FeatureSplit,
    rows: Sequence[int],
) -> tuple[Array, list[int]]:
    """Return the champion's class indices for those of `rows` that it can read, and these rows.

    It reads the feature store if that was made by the champion's own encoders, else the raw audio and text.
    """
    folder, device = workspace.data("incumbent"), params.runtime.device
    model, card = checkpoint.load(folder)
    if shares_features(card, test):
        outputs = predict_split(model, test, BATCH, rows, device)
        kept = [row for row, readable in zip(rows, outputs.readable, strict=True) if readable]
        return outputs.probabilities[outputs.readable].argmax(1), kept
    try:
        predictor = Predictor.load(folder, "champion", device, workspace.root)
    except LsgmerError as error:
        raise _Unusable(f"its encoders cannot be used here: {error}") from error
    print("champion: its encoders differ from the feature store's, so it reads the raw recordings", flush=True)
    return _from_raw(predictor, workspace.root / params.corpus.path, manifest, test, rows)


def _from_raw(
    predictor: Predictor, corpus: Path, manifest: ValidatedManifest, test: FeatureSplit, rows: Sequence[int]
) -> tuple[Array, list[int]]:
    by_id = {utterance.id: utterance for utterance in manifest.utterances}
    chosen = [(row, by_id[test.ids[row]]) for row in rows]
    kept = [(row, utterance) for row, utterance in chosen if readable(utterance, predictor)]
    utterances = [utterance for _, utterance in kept]
    reader = RawReader(predictor, corpus, manifest.utterances, utterances, "champion")
    return reader.guess(utterances), [row for row, _ in kept]


def _comparison(
    champion: str, params: EvaluationSections, new: Challenger, rows: Sequence[int], guess: Array | None, reason: str
) -> IncumbentComparison:
    difference, index = None, list(rows)
    if guess is not None:
        truth, ours = new.test.labels[index], new.guess[index]
        difference = paired_bootstrap(truth, ours, guess, params.evaluate.bootstrap, params.runtime.seed)
    speakers = len({new.test.speakers[row] for row in rows})
    return IncumbentComparison(
        champion=champion, n=len(index), n_speakers=speakers, difference=difference, reason=reason
    )


class _Unusable(Exception):
    """The champion cannot predict here; the message becomes the comparison's reason."""
