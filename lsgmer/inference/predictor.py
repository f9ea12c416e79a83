"""Predictions from a checkpoint and its encoders: of raw speech and words, for serving and `lsgmer predict`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lsgmer.audio import AudioLimits, OutOfLimits, Waveform, unusable
from lsgmer.core.device import choose_device
from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import MODALITIES, Modality
from lsgmer.encoders.context import Earlier
from lsgmer.features.batch import Item
from lsgmer.features.normalise import Level
from lsgmer.inference.outputs import Outputs, collect_outputs, run_model
from lsgmer.inference.prediction import AutomaticTranscript, Prediction
from lsgmer.inference.speakers import SpeakerLevels
from lsgmer.model import checkpoint
from lsgmer.model.ensemble import Model
from lsgmer.model.train_card import ENCODERS, TrainCard

if TYPE_CHECKING:
    from lsgmer.encoders.build import AudioEncoder, TextEncoder

Array = np.ndarray[Any, Any]
MOST_S = 120.0  # of audio that a model reads whose card names no limits
BATCH_S = 240.0  # seconds of audio, padding included, that are encoded together


@dataclass(frozen=True, slots=True)
class Input:
    """One input: speech (any sample rate), text, or both. Blank text counts as none.

    `transcript` is what a machine heard in the audio: read where there is no text.

    `previous` are the earlier utterances of the same dialogue, earliest first. `speaker` is whose level is removed
    from the audio, by a model that was trained without levels (`features.normalise`): the speaker, or the session.
    """

    audio: Waveform | None = None
    text: str | None = None
    previous: tuple[Earlier, ...] = ()
    speaker: str | None = None
    transcript: AutomaticTranscript | None = None

    @property
    def words(self) -> str | None:
        """The text, or else the automatic transcript; None if both are missing or blank."""
        if self.text and self.text.strip():
            return self.text
        return self.transcript.text if self.transcript is not None and self.transcript.text.strip() else None


class Predictor:
    """A model with its encoders, ready to predict. `load` builds one from a folder alone."""

    def __init__(
        self,
        model: Model,
        card: TrainCard,
        encoders: dict[Modality, AudioEncoder | TextEncoder],
        version: str,
        limits: AudioLimits | None = None,
        channel: int | None = None,
    ) -> None:
        self.model, self.card, self.encoders, self.version = model, card, encoders, version
        self.limits, self.channel = limits, channel

    @classmethod
    def load(
        cls,
        folder: Path,
        version: str,
        device: str = "auto",
        root: Path | None = None,
        limits: AudioLimits | None = None,
        channel: int | None = None,
    ) -> Predictor:
        """Load the checkpoint in `folder` and the encoders its card names.

        Args:
            folder: holds model.safetensors, card.json and, if encoders were packed, encoders/MODALITY.
            version: the model version that predictions report.
            device: auto, cpu or cuda.
            root: where an encoder in a folder is looked for if it is not packed (default: the current folder).
            limits: what audio must be like to be predicted; None: any that can be read.
            channel: what to read of recordings with several channels where a request names none; None: all, mixed.

        Raises:
            LsgmerError: something is missing or does not match the card.

        """
        from lsgmer.encoders.build import load_encoder  # transformers, which stored features do without

        model, card = checkpoint.load(folder)
        place = choose_device(device)
        encoders = {
            name: load_encoder(spec, folder / ENCODERS / name, root, str(place))
            for name, spec in card.encoders.items()
            if spec is not None
        }
        return cls(model.to(place), card, encoders, version, limits, channel)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What this model reads."""
        return tuple(name for name in MODALITIES if name in self.encoders)

    def used(self, item: Input) -> tuple[Modality, ...]:
        """Return the modalities of `item` that the model uses.

        Raises LsgmerError for none and for unusable audio, OutOfLimits for audio unlike any in training.
        """
        return self._checked(item)[0]

    def _checked(self, item: Input) -> tuple[tuple[Modality, ...], tuple[str, ...]]:
        """Return the modalities of `item` that are used, and warnings about its audio. Raises as `used` does."""
        warnings = () if item.audio is None else self.check_audio(item.audio)
        given = {"audio": item.audio is not None, "text": item.words is not None}
        used = tuple(name for name in self.modalities if given[name])
        if not used:
            if item.transcript is not None and self.modalities == ("text",):
                raise OutOfLimits(f"audio: no words for this model to read: {item.transcript.reason}; send text")
            has = " and ".join(name for name, there in given.items() if there) or "nothing"
            raise LsgmerError(f"got {has}; this model reads {' or '.join(self.modalities)}: give at least one of them")
        return used, warnings

    def check_audio(self, wave: Waveform) -> tuple[str, ...]:
        """Return warnings about `wave`. Raises LsgmerError for audio from which nothing can be concluded."""
        if not len(wave.samples):
            raise LsgmerError("audio: empty: no samples; give a recording of at least a few tenths of a second")
        if reason := unusable(wave.samples[:, None]):
            raise OutOfLimits(f"audio: {reason}")
        return self.limits.check(wave) if self.limits is not None else ()

    @property
    def device(self) -> str:
        """Where the model runs: cpu or cuda."""
        return next(self.model.parameters()).device.type

    @property
    def most_s(self) -> float:
        """How many seconds of audio are read at most."""
        return MOST_S if self.limits is None else self.limits.most_s

    @property
    def normalises(self) -> bool:
        """Whether the model expects audio without the level of its speaker."""
        return self.card.normalise != "none"

    def enrol(self, items: Sequence[Input], levels: SpeakerLevels, batch_size: int = 16) -> None:
        """Add the audio of `items` to their speakers' `levels`. Raises LsgmerError for unusable audio."""
        if not self.normalises:
            return
        spoken = [item for item in items if item.audio is not None and item.speaker is not None]
        for start in range(0, len(spoken), batch_size):
            part = spoken[start : start + batch_size]
            waves = [cast(Waveform, item.audio) for item in part]
            frames = cast("AudioEncoder", self.encoders["audio"]).encode(waves)
            for item, values in zip(part, frames, strict=True):
                levels.add(str(item.speaker), values, cast(Waveform, item.audio).samples)

    def predict(
        self, items: Sequence[Input], batch_size: int = 16, levels: SpeakerLevels | None = None, learn: bool = True
    ) -> list[Prediction]:
        """Return one prediction per item, in order.

        Args:
            items: the inputs.
            batch_size: how many are encoded at once.
            levels: the speakers that are known; None: none are, and audio is normalised by the training data's level.
            learn: whether the level of an item's speaker is to take in the item's own audio first.

        Raises:
            LsgmerError: an item that `used` rejects.

        """
        checked = [self._checked(item) for item in items]
        used = [names for names, _ in checked]
        predictions: list[Prediction] = []
        for part in _batches(items, batch_size):
            encoded = self._encode(items[part], used[part])
            normalised = [self._normalise(*pair, levels, learn) for pair in zip(encoded, items[part], strict=True)]
            features = [item for item, _ in normalised]
            outputs = self._outputs(features)
            without = self._without(features, used[part])
            for i, (item, (names, warnings)) in enumerate(zip(items[part], checked[part], strict=True)):
                notes = {"context_used": self._context_used(item, names), **normalised[i][1]}
                notes["warnings"] = (*warnings, *self._text_warnings(item, names))
                notes["contribution"] = self._contribution(outputs.probabilities[i], without[i])
                notes["duration_s"] = None if item.audio is None else item.audio.duration_s
                notes["transcript"] = None if item.text and item.text.strip() else item.transcript
                predictions.append(self._prediction(outputs, i, names, notes))
        return predictions

    def _outputs(self, features: Sequence[Item]) -> Outputs:
        return collect_outputs([run_model(self.model, features)], [list(range(len(features)))], len(features))

    def _without(self, features: Sequence[Item], used: Sequence[tuple[Modality, ...]]) -> list[dict[Modality, Array]]:
        """Return, for each item, the probabilities (C,) without each of its modalities: chance without the only one."""
        found: list[dict[Modality, Array]] = [{} for _ in features]
        for name in self.modalities:
            rows = [i for i, names in enumerate(used) if name in names and len(names) > 1]
            if rows:
                left = self._outputs([_leave_out(features[i], name) for i in rows]).probabilities
                for i, probabilities in zip(rows, left, strict=True):
                    found[i][name] = probabilities
        count = len(self.card.labels)
        for names, without in zip(used, found, strict=True):
            if len(names) == 1:
                without[names[0]] = np.full(count, 1 / count)
        return found

    @staticmethod
    def _contribution(probabilities: Array, without: Mapping[Modality, Array]) -> dict[Modality, float]:
        top = int(probabilities.argmax())
        return {name: float(probabilities[top] - left[top]) for name, left in without.items()}

    def _encode(self, items: Sequence[Input], used: Sequence[tuple[Modality, ...]]) -> list[Item]:
        features = [Item(id=str(i)) for i in range(len(items))]
        for name in self.modalities:
            rows = [i for i, modalities in enumerate(used) if name in modalities]
            if not rows:
                continue
            if name == "audio":
                waves = [cast(Waveform, items[i].audio) for i in rows]
                values = cast("AudioEncoder", self.encoders[name]).encode_together(waves)
            else:
                words = [str(items[i].words) for i in rows]
                before = [self._before(items[i]) for i in rows]
                values = cast("TextEncoder", self.encoders[name]).encode_together(words, before)
            for i, frames in zip(rows, values, strict=True):
                features[i] = (
                    replace(features[i], audio=frames) if name == "audio" else replace(features[i], text=frames)
                )
        return features

    def _normalise(
        self, found: Item, item: Input, levels: SpeakerLevels | None, learn: bool
    ) -> tuple[Item, dict[str, Any]]:
        """Return features `found` of `item` without its speaker's level, and what the prediction says about that."""
        if not self.normalises or found.audio is None:
            return found, {}
        level, count = None, 0
        if levels is not None and item.speaker is not None:
            if learn:
                levels.add(item.speaker, found.audio, cast(Waveform, item.audio).samples)
            level, count = levels.of(item.speaker)
        by = "training" if level is None else "speaker"
        audio = (level or self._training_level).remove(found.audio)
        return replace(found, audio=audio), {"normalised_by": by, "enrolled": count}

    @cached_property
    def _training_level(self) -> Level:
        stream = self.model.stream("audio")
        return Level(stream.level_mean.cpu().numpy(), stream.level_deviation.cpu().numpy())

    @property
    def context(self) -> int:
        """How many earlier utterances of a dialogue the model reads."""
        spec = self.card.encoders.get("text")
        return int(spec.settings.get("context", 0)) if spec is not None else 0

    def _before(self, item: Input) -> tuple[Earlier, ...]:
        """Return the utterances of `item.previous` that the model may read: the nearest that have words."""
        spoken = tuple(line for line in item.previous if line.text.strip())
        return spoken[max(0, len(spoken) - self.context) :]

    def _context_used(self, item: Input, used: tuple[Modality, ...]) -> int | None:
        if not self.context:
            return None
        if "text" not in used:
            return 0
        return cast("TextEncoder", self.encoders["text"]).context_read(str(item.words), self._before(item))

    def _text_warnings(self, item: Input, used: tuple[Modality, ...]) -> tuple[str, ...]:
        """Return what of the words was not read, and why."""
        if "text" not in used:
            return ()
        left_out = cast("TextEncoder", self.encoders["text"]).tokens_left_out(str(item.words))
        if not left_out:
            return ()
        spec = self.card.encoders["text"]
        most = spec.settings["max_tokens"] if spec is not None else 0
        return (f"text: cut after {most} tokens, the last {left_out} were not read; send shorter pieces",)

    def _prediction(
        self, outputs: Outputs, i: int, modalities: tuple[Modality, ...], notes: dict[str, Any]
    ) -> Prediction:
        names = self.card.labels.names
        probabilities = outputs.probabilities[i]
        return Prediction(
            emotion=names[int(probabilities.argmax())],
            probabilities=dict(zip(names, probabilities.tolist(), strict=True)),
            attribution=dict(zip(names, outputs.attribution[i].tolist(), strict=True)),
            consistency=float(outputs.consistency[i]),
            modalities=modalities,
            model_version=self.version,
            **notes,
        )


def _leave_out(item: Item, name: Modality) -> Item:
    return replace(item, audio=None) if name == "audio" else replace(item, text=None)


def _batches(items: Sequence[Input], size: int) -> Iterator[slice]:
    """Yield slices of at most `size` items whose audio, padded to the longest, is at most BATCH_S."""
    start, longest = 0, 0.0
    for i, item in enumerate(items):
        duration = 0.0 if item.audio is None else item.audio.duration_s
        if i > start and (i - start == size or max(longest, duration) * (i - start + 1) > BATCH_S):
            yield slice(start, i)
            start, longest = i, 0.0
        longest = max(longest, duration)
    if items:
        yield slice(start, len(items))
