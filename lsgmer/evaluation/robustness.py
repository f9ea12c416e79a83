"""What noise, codecs and recognition errors do to the fused model's decisions on the test split."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace
from lsgmer.core.progress import track
from lsgmer.core.records import Modality
from lsgmer.evaluation.params import EvaluationSections
from lsgmer.evaluation.raw import RawReader, with_audio, with_text
from lsgmer.evaluation.records import Robustness
from lsgmer.features.perturbations import AUDIO, TEXT, AudioChange, TextChange
from lsgmer.inference.predictor import Input, Predictor
from lsgmer.manifests.utterance import Utterance
from lsgmer.manifests.validated import ValidatedManifest
from lsgmer.metrics import balanced_accuracy, paired_bootstrap

Change = Callable[[Utterance, Input], Input]


def measure_robustness(
    workspace: Workspace, params: EvaluationSections, manifest: ValidatedManifest, notes: list[str]
) -> tuple[Robustness, ...]:
    """Return the effect of every perturbation on a part of the test split, stratified by label.

    The model reads recordings and words as a server does. A note is added to `notes` where it cannot.
    """
    most = params.evaluate.robustness_utterances
    if not most:
        return ()
    try:
        predictor = Predictor.load(workspace.data("train"), "model", params.runtime.device, workspace.root)
    except LsgmerError as error:
        notes.append(f"robustness: not measured, since the encoders read no recordings or words: {error}")
        return ()
    test = [u for u in manifest.utterances if u.split == "test"]
    chosen = stratified(test, most, params.runtime.seed)
    reader = RawReader(
        predictor, workspace.root / params.corpus.path, manifest.utterances, test, "robustness, unchanged"
    )
    parts: dict[Modality, list[Utterance]] = {
        "audio": [u for u in chosen if u.audio and "audio" in predictor.modalities],
        "text": [u for u in chosen if Input(text=u.text).words and "text" in predictor.modalities],
    }
    clean = {name: reader.guess(rows) for name, rows in parts.items() if rows}
    found = []
    changes = list(_changes(test, params.runtime.seed))
    for name, modality, change in track(changes, len(changes), "robustness"):
        if modality in clean:
            rows, before = parts[modality], clean[modality]
            truth, after = np.array([manifest.labels.index(u.emotion) for u in rows]), reader.guess(rows, change)
            gained = paired_bootstrap(truth, after, before, params.evaluate.bootstrap, params.runtime.seed)
            found.append(
                Robustness(
                    perturbation=name,
                    modality=modality,
                    n=len(rows),
                    unchanged=float((before == after).mean()),
                    before=balanced_accuracy(truth, before),
                    after=balanced_accuracy(truth, after),
                    change=gained,
                )
            )
    return tuple(found)


def stratified(utterances: Sequence[Utterance], most: int, seed: int) -> list[Utterance]:
    """Return at most `most` utterances with about equal numbers of each label, in the order of the manifest."""
    generator = np.random.default_rng(seed)
    ranked: dict[str, list[int]] = {}
    for i in generator.permutation(len(utterances)):
        ranked.setdefault(utterances[i].emotion, []).append(int(i))
    by_turn = sorted((turn, i) for rows in ranked.values() for turn, i in enumerate(rows))
    return [utterances[i] for i in sorted(i for _, i in by_turn[:most])]


def _changes(test: Sequence[Utterance], seed: int) -> Iterator[tuple[str, Modality, Change]]:
    """Yield every perturbation: its name, what it changes, and the change, whose chance depends on the utterance."""
    vocabulary = sorted({word for u in test if u.text for word in u.text.split()})
    for name, sound in AUDIO.items():
        yield name, "audio", _sound_change(sound, [seed, zlib.crc32(name.encode())])
    for name, words in TEXT.items():
        yield name, "text", _word_change(words, [seed, zlib.crc32(name.encode())], vocabulary)


def _sound_change(sound: AudioChange, seeds: list[int]) -> Change:
    return lambda utterance, item: with_audio(item, lambda wave: sound(wave, _chance(seeds, utterance)))


def _word_change(words: TextChange, seeds: list[int], vocabulary: Sequence[str]) -> Change:
    return lambda utterance, item: with_text(item, lambda text: words(text, _chance(seeds, utterance), vocabulary))


def _chance(seeds: list[int], utterance: Utterance) -> np.random.Generator:
    return np.random.default_rng([*seeds, zlib.crc32(utterance.id.encode())])
