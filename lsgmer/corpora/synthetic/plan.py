"""Who says what and how in the synthetic corpus: a pure function of `sample` in params.yaml."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

from lsgmer.core.errors import ParamsError
from lsgmer.core.records import SPLITS, Split
from lsgmer.corpora.params import SampleParams
from lsgmer.corpora.synthetic.espeak import Speech
from lsgmer.corpora.synthetic.text import lines

Tag = Literal["congruent", "voice_only", "text_only", "contradictory"]
TAGS: tuple[Tag, ...] = ("congruent", "voice_only", "text_only", "contradictory")
NEUTRAL = "neutral"
MOVED = ("angry", "happy", "sad")  # the emotions that a voice or a text can carry


@dataclass(frozen=True, slots=True)
class Speaker:
    """A synthetic voice at rest: eSpeak's voice and, in its units, the rate, pitch, range and volume."""

    name: str
    sex: Literal["female", "male"]
    voice: str
    rate: int
    pitch: int
    pitch_range: int
    volume: int


SPEAKERS: dict[Split, tuple[Speaker, ...]] = {
    "train": (
        Speaker("ada", "female", "en-us+f1", 168, 48, 45, 55),
        Speaker("ben", "male", "en-us+m1", 172, 52, 46, 62),
        Speaker("cleo", "female", "en+f3", 176, 50, 50, 59),
        Speaker("dev", "male", "en+m3", 164, 47, 48, 56),
        Speaker("edith", "female", "en-gb-scotland+f5", 162, 46, 47, 58),
        Speaker("finn", "male", "en-us+m7", 178, 54, 52, 53),
    ),
    "valid": (
        Speaker("gwen", "female", "en+f4", 170, 49, 48, 58),
        Speaker("hugo", "male", "en-us+m5", 167, 50, 47, 59),
    ),
    "test": (
        Speaker("iris", "female", "en-us+f2", 174, 49, 48, 56),
        Speaker("jack", "male", "en+m6", 169, 51, 49, 60),
        Speaker("kira", "female", "en-us+linda", 165, 50, 46, 58),
        Speaker("liam", "male", "en-us+Michael", 171, 49, 50, 59),
    ),
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an emotion changes a voice: factors on rate and volume, steps on pitch and its range."""

    rate: float
    pitch: float
    pitch_range: float
    volume: float


DELIVERIES: dict[str, Delivery] = {
    "angry": Delivery(rate=1.30, pitch=0, pitch_range=12, volume=1.75),
    "happy": Delivery(rate=1.03, pitch=34, pitch_range=42, volume=1.05),
    NEUTRAL: Delivery(rate=1.0, pitch=0, pitch_range=0, volume=1.0),
    "sad": Delivery(rate=0.74, pitch=-18, pitch_range=-34, volume=0.50),
}
INTENSITY = (0.8, 1.15)  # an utterance shows this much of its delivery
JITTER = Delivery(rate=0.04, pitch=2.5, pitch_range=4, volume=0.08)  # standard deviations, for every utterance


@dataclass(frozen=True, slots=True)
class Planned:
    """One utterance to be spoken. `emotion` is its label: the voice's, unless the voice is neutral."""

    id: str
    split: Split
    speaker: Speaker
    tag: Tag
    voice_emotion: str
    text_emotion: str
    text: str
    speech: Speech

    @property
    def emotion(self) -> str:
        """The label: the voice wins; the text decides only when the voice is neutral."""
        return self.text_emotion if self.voice_emotion == NEUTRAL else self.voice_emotion


def plan(params: SampleParams) -> list[Planned]:
    """Return every utterance in order. Raises ParamsError when a split cannot hold every emotion."""
    return [item for split in SPLITS for item in _plan_split(split, params)]


def tag_counts(total: int, shares: Mapping[Tag, float]) -> dict[Tag, int]:
    """Split `total` by `shares`, exactly: whole parts first, then the largest remainders."""
    exact = {tag: round(total * shares.get(tag, 0.0), 9) for tag in TAGS}
    counts = {tag: math.floor(value) for tag, value in exact.items()}
    for tag in sorted(TAGS, key=lambda tag: (counts[tag] - exact[tag], TAGS.index(tag)))[
        : total - sum(counts.values())
    ]:
        counts[tag] += 1
    return counts


def _plan_split(split: Split, params: SampleParams) -> list[Planned]:
    total = params.utterances.get(split, 0)
    random = Random(f"{params.seed}/{split}")  # noqa: S311 (a corpus, not a secret)
    kinds = _kinds(tag_counts(total, params.shares))
    missing = {*MOVED, NEUTRAL} - {_label(voice, text) for _, voice, text in kinds}
    if missing:
        raise ParamsError(
            f"sample: {total} {split} utterances with these shares include no {', '.join(sorted(missing))} one; "
            f"raise sample.utterances.{split} or sample.shares.congruent"
        )
    wanted = Counter(text for _, _, text in kinds)
    texts = {emotion: iter(lines(emotion, split, count, random)) for emotion, count in sorted(wanted.items())}
    speakers = SPEAKERS[split]
    # Kinds are ordered by emotion, so that dealing them out in turn gives every speaker as many of each.
    cast = [(kind, speakers[i % len(speakers)]) for i, kind in enumerate(kinds)]
    random.shuffle(cast)
    planned = []
    for number, ((tag, voice, text_emotion), speaker) in enumerate(cast, start=1):
        name, text = f"{split}-{number:04d}", next(texts[text_emotion])
        speech = _speech(text, speaker, voice, Random(f"{params.seed}/{name}"))  # noqa: S311
        planned.append(Planned(name, split, speaker, tag, voice, text_emotion, text, speech))
    return planned


def _kinds(counts: Mapping[Tag, int]) -> list[tuple[Tag, str, str]]:
    """Return (tag, voice's emotion, text's emotion) of each utterance, ordered by label.

    Only congruent ones can be neutral: up to a quarter of the total, and always at least one fewer than are congruent.
    """
    neutral = max(0, min(round(sum(counts.values()) / 4), counts["congruent"] - 1))
    kinds: list[tuple[Tag, str, str]] = [("congruent", NEUTRAL, NEUTRAL)] * neutral
    turn = 0
    for tag in TAGS:
        for _ in range(counts[tag] - (neutral if tag == "congruent" else 0)):
            kinds.append((tag, *_pair(tag, turn)))
            turn += 1
    return sorted(kinds, key=lambda kind: (_label(*kind[1:]), TAGS.index(kind[0])))


def _pair(tag: Tag, turn: int) -> tuple[str, str]:
    """Return the voice's and the text's emotion of the `turn`-th utterance that is not neutral throughout."""
    emotion = MOVED[turn % 3]
    match tag:
        case "congruent":
            return emotion, emotion
        case "voice_only":
            return emotion, NEUTRAL
        case "text_only":
            return NEUTRAL, emotion
        case "contradictory":
            return emotion, MOVED[(turn + 1 + turn // 3 % 2) % 3]


def _label(voice: str, text: str) -> str:
    return text if voice == NEUTRAL else voice


def _speech(text: str, speaker: Speaker, emotion: str, random: Random) -> Speech:
    delivery, intensity = DELIVERIES[emotion], random.uniform(*INTENSITY)
    rate = speaker.rate * delivery.rate**intensity * (1 + random.gauss(0, JITTER.rate))
    pitch = speaker.pitch + delivery.pitch * intensity + random.gauss(0, JITTER.pitch)
    pitch_range = speaker.pitch_range + delivery.pitch_range * intensity + random.gauss(0, JITTER.pitch_range)
    volume = speaker.volume * delivery.volume**intensity * (1 + random.gauss(0, JITTER.volume))
    return Speech(
        text=text,
        voice=speaker.voice,
        rate=_within(rate, 90, 300),
        pitch=_within(pitch, 5, 95),
        pitch_range=_within(pitch_range, 2, 98),
        volume=_within(volume, 20, 140),
        seed=random.randrange(1, 1 << 31),
    )


def _within(value: float, low: int, high: int) -> int:
    return min(max(round(value), low), high)
