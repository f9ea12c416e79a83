"""The names of the files in corpora whose file names say everything, as their publishers describe them."""

from __future__ import annotations

from collections.abc import Callable


def ravdess() -> list[str]:
    return [
        f"Actor_{actor:02}/03-01-{emotion:02}-{intensity:02}-{sentence:02}-{take:02}-{actor:02}.wav"
        for actor in range(1, 25)
        for emotion in range(1, 9)
        for intensity in ((1,) if emotion == 1 else (1, 2))  # neutral is never strong
        for sentence in (1, 2)
        for take in (1, 2)
    ]


def tess() -> list[str]:
    folders = {"angry": "angry", "disgust": "disgust", "fear": "Fear", "happy": "happy", "neutral": "neutral"}
    folders |= {"ps": "Pleasant_surprise", "sad": "Sad"}
    words = [first + second + end for first in "bcdfg" for second in "aeio" for end in "bcdfgklmnp"]
    named = [
        f"{who}_{folder}/{who}_{word}_{emotion}.wav"
        for who in ("OAF", "YAF")
        for emotion, folder in folders.items()
        for word in words
    ]
    return [name.replace("/OAF_bab_neutral", "/OA_bab_neutral") for name in named]


def savee() -> list[str]:
    counts = {"a": 15, "d": 15, "f": 15, "h": 15, "n": 30, "sa": 15, "su": 15}
    return [
        f"AudioData/{who}/{emotion}{number:02}.wav"
        for who in ("DC", "JE", "JK", "KL")
        for emotion, count in counts.items()
        for number in range(1, count + 1)
    ]


def esd() -> list[str]:
    """Every 35th sentence: 1,000 of 35,000 files."""
    emotions = ("Neutral", "Angry", "Happy", "Sad", "Surprise")
    return [
        f"{speaker:04}/{emotion}/{speaker:04}_{350 * place + number:06}.wav"
        for speaker in range(1, 21)
        for place, emotion in enumerate(emotions)
        for number in range(35, 351, 35)
    ]


RELEASES: dict[str, Callable[[], list[str]]] = {"ravdess": ravdess, "tess": tess, "savee": savee, "esd": esd}
