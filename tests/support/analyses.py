"""Analyses of calls as the records hold them, with every kind of turn, for tests of what is made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from lsgmer.conversations.records import Analysis, TimelineTurn
from lsgmer.conversations.summary import speaker_summaries, summarise

LABELS = ("angry", "happy", "neutral", "sad")
HOSTILE = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">\u2028=1+1"


def make_analysis(
    turns: int = 24, duration_s: float = 120.0, names: tuple[str, ...] = ("agent", "customer")
) -> Analysis:
    """Return a call in which the second speaker gets angry half way; some turns are odd in one way each."""
    rng = np.random.default_rng(5)
    each = duration_s / turns
    timeline = []
    for i in range(turns):
        late = i > turns / 2 and i % 2 == 1
        weights = rng.dirichlet(np.array([8.0, 1, 1, 2]) if late else np.array([1.0, 1, 8, 1]))
        probabilities = dict(zip(LABELS, weights.tolist(), strict=True))
        turn = TimelineTurn(
            index=i,
            start_s=round((i + 0.04) * each, 3),
            end_s=round((i + 0.94) * each, 3),
            speaker=names[i % 2],
            channel=i % 2,
            text=None if i % 5 == 4 else f"these are the words of turn {i + 1}",
            automatic=i % 3 == 0,
            emotion=max(probabilities, key=lambda name: probabilities[name]),
            probabilities=probabilities,
            attribution=probabilities,
            consistency=0.9,
            modalities=("audio",),
        )
        timeline.append(turn)
    timeline[1] = timeline[1].model_copy(update={"text": HOSTILE})
    timeline[2] = timeline[2].model_copy(update={"warnings": ("audio: clipped: 12% of it is over the limit",)})
    gone = {"emotion": None, "probabilities": None, "attribution": None, "consistency": None, "modalities": ()}
    timeline[3] = timeline[3].model_copy(update={**gone, "error": "audio: too short: 0.12 s is under 0.3 s"})
    timeline[4] = timeline[4].model_copy(update={"emotion": None, "abstained": True})
    return Analysis(
        duration_s=duration_s,
        sample_rate=16000,
        channels=2,
        turns_from="given",
        model_version="lsgmer:0123456789abcdef",
        speakers=speaker_summaries(timeline, {name: i for i, name in enumerate(names)}),
        timeline=tuple(timeline),
        summary=summarise(timeline, duration_s, ("angry", "sad")),
        warnings=("audio: truncated: the header promises 2.0 s more",),
    )


def write_call(path: Path, analysis: Analysis) -> None:
    """Write a recording with a tone for each turn on its channel: higher ones for later turns."""
    rate = analysis.sample_rate
    samples = np.zeros((round(analysis.duration_s * rate), analysis.channels), np.float32)
    for turn in analysis.timeline:
        first, last = round(turn.start_s * rate), round(turn.end_s * rate)
        times = np.arange(last - first) / rate
        tone = 0.4 * np.sin(2 * np.pi * (150 + 5 * turn.index) * times) * (0.6 + 0.4 * np.sin(9 * times))
        samples[first:last, turn.channel or 0] = tone
    soundfile.write(path, samples, rate)
