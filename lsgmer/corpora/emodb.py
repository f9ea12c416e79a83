"""EmoDB (Burkhardt et al., 2005): `wav/03a01Wa.wav` is speaker 03, sentence a01, emotion W, version a."""

from __future__ import annotations

import re
from pathlib import Path

from lsgmer.corpora.base import Unfit, label_of, read_files
from lsgmer.corpora.params import CorpusParams
from lsgmer.manifests.utterance import CorpusReading, Utterance

NAME = re.compile(r"(\d\d)([ab]\d\d)([A-Z])([a-z])")
# The letter is that of the German word (Wut, Langeweile, ...). It alone decides: tables found elsewhere are not read.
EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
WOMEN, MEN = ("08", "09", "13", "14", "16"), ("03", "10", "11", "12", "15")
SEXES = dict.fromkeys(WOMEN, "female") | dict.fromkeys(MEN, "male")
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}


def read(params: CorpusParams, root: Path) -> CorpusReading:
    """Read the file names in `root`/wav. Raises LsgmerError when there are none."""
    return read_files(root, "wav", lambda name: _utterance(name, params))


def _utterance(name: str, params: CorpusParams) -> Utterance:
    matched = NAME.fullmatch(name)
    if not matched:
        raise Unfit("its name is not of the form 03a01Wa")
    speaker, sentence, letter, _ = matched.groups()
    for what, code, known in (
        ("speaker", speaker, SEXES),
        ("sentence", sentence, SENTENCES),
        ("emotion", letter, EMOTIONS),
    ):
        if code not in known:
            raise Unfit(f"unknown {what} {code!r}; known are {', '.join(known)}")
    return Utterance(
        id=name,
        corpus=params.name,
        speaker=speaker,
        emotion_raw=EMOTIONS[letter],
        emotion=label_of(EMOTIONS[letter], params),
        sex=SEXES[speaker],
        audio=f"wav/{name}.wav",
        text=SENTENCES[sentence],
    )
