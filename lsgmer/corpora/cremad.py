"""CREMA-D (Cao et al., 2014): `AudioWAV/1001_DFA_ANG_XX.wav` is actor, sentence, emotion, intensity."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from lsgmer.core.errors import LsgmerError
from lsgmer.corpora.base import Unfit, label_of, read_files
from lsgmer.corpora.params import CorpusParams
from lsgmer.manifests.utterance import CorpusReading, Utterance

NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{1,2})")
ACTORS = "VideoDemographics.csv"
INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified", "X": "unspecified"}  # one file has X
SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}


def read(params: CorpusParams, root: Path) -> CorpusReading:
    """Read the file names in `root`/AudioWAV, and the actors' sex if VideoDemographics.csv is in `root`.

    Raises LsgmerError when there is no file, or the table of actors lacks their ids or their sex.
    """
    sexes = _sexes(root / ACTORS)
    return read_files(root, "AudioWAV", lambda name: _utterance(name, params, sexes))


def _utterance(name: str, params: CorpusParams, sexes: dict[str, str]) -> Utterance:
    matched = NAME.fullmatch(name)
    if not matched:
        raise Unfit("its name is not of the form 1001_DFA_ANG_XX")
    actor, sentence, emotion, intensity = matched.groups()
    for what, code, known in (("sentence", sentence, SENTENCES), ("intensity", intensity, INTENSITIES)):
        if code not in known:
            raise Unfit(f"unknown {what} {code!r}; known are {', '.join(known)}")
    return Utterance(
        id=name,
        corpus=params.name,
        speaker=actor,
        emotion_raw=emotion,
        emotion=label_of(emotion, params),
        sex=sexes.get(actor),
        audio=f"AudioWAV/{name}.wav",
        text=SENTENCES[sentence],
        tags=(INTENSITIES[intensity],),
    )


def _sexes(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return {row["ActorID"].strip(): row["Sex"].strip().lower() for row in csv.DictReader(file)}
    except (KeyError, AttributeError, UnicodeDecodeError, csv.Error) as error:
        raise LsgmerError(f"{path}: not readable as a table with ActorID and Sex ({error}); get it again") from None
