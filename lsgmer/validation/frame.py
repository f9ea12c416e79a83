"""What validation checks: every utterance with the facts about its audio and text, as one pandas frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from lsgmer.audio import AudioFacts
from lsgmer.core.records import SPLITS
from lsgmer.core.text import cut_text
from lsgmer.manifests.manifest import Manifest
from lsgmer.manifests.utterance import Utterance

COLUMNS = (
    *("id", "speaker", "session", "dialogue", "sex", "split", "emotion"),
    *("audio", "start_s", "end_s", "channel", "text"),
)
NUMBERS = (
    "sample_rate",
    "channels",
    "header_frames",
    "decoded_frames",
    "duration_s",
    "rms_db",
    "peak",
    "clipping_share",
    "silence_share",
)
DERIVED = ("recording", "sha256", "content", "decode_error", "cut_error", "text_damage", "mixing")
SHOWN = 40  # how many characters of damaged text a reason quotes
_Cut = Mapping[Any, Any]  # column -> value


def to_frame(utterances: Sequence[Utterance], known: Mapping[str, AudioFacts]) -> pd.DataFrame:
    """Return one row per utterance: its fields, its facts (missing without audio), and what is wrong with it.

    `recording` is where people find it: the audio file and the times of the cut, as in call-03.flac 00:12.40-00:15.10
    (missing without audio). `content` is audio or else text; `decode_error`, `cut_error` and `text_damage` say why, or
    are missing. `mixing` says what mixing the channels loses.
    """
    rows = []
    for utterance in utterances:
        fact = known.get(utterance.id, AudioFacts())
        kind = (fact.error or "").partition(":")[0]
        row = {name: getattr(utterance, name) for name in COLUMNS} | asdict(fact)
        row["recording"] = recording_of(utterance)
        row["content"] = utterance.audio or utterance.text
        row["cut_error"] = fact.error if kind == "cut" else None
        row["decode_error"] = fact.error if kind not in ("cut", "truncated") else None
        row["text_damage"] = text_damage(utterance.text) if utterance.text else None
        rows.append(row)
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *NUMBERS, *DERIVED, "error"])
    return frame.astype({name: "float64" for name in (*NUMBERS, "start_s", "end_s", "channel")})


def recording_of(utterance: Utterance) -> str | None:
    """Return the audio file and, where the utterance is a part of it, its times; None without audio."""
    if utterance.audio is None:
        return None
    return f"{utterance.audio} {cut_text(utterance.start_s, utterance.end_s)}".rstrip()


def add_reach(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with, for each row, in how many splits its speaker, session, dialogue, audio and words occur.

    Missing where the row has none. Words are compared ignoring case and spacing. Audio is the same where the samples
    are, and where two cuts of a recording share more than half of the shorter one, on one channel or with it mixed in.
    """
    words = frame["text"].map(lambda text: " ".join(text.casefold().split()), na_action="ignore")
    keys = {name: frame[name] for name in ("speaker", "session", "dialogue")} | {
        "audio": frame["sha256"],
        "text": words,
    }
    reach = {f"{name}_splits": frame["split"].groupby(key).transform("nunique") for name, key in keys.items()}
    shared = frame["id"].isin(_shared_cuts(frame)).map({True: 2.0, False: 0.0}).where(frame["audio"].notna())
    reach["audio_splits"] = pd.concat([reach["audio_splits"], shared], axis=1).max(axis=1)
    return frame.assign(**reach)


def _shared_cuts(frame: pd.DataFrame) -> set[str]:
    """Return the ids of rows that share most of a cut with a row of another split."""
    found: set[str] = set()
    columns = ["audio", "start_s", "end_s", "channel", "split"]
    cuts = frame[frame["audio"].notna()].fillna({"start_s": 0.0, "end_s": math.inf})
    same = cuts.groupby(columns, dropna=False, sort=False)["id"].agg(list).reset_index()
    in_several = same.groupby("audio")["split"].transform("nunique") > 1
    for _, recording in same[in_several].groupby("audio", sort=False):
        rows = recording.sort_values("start_s", kind="stable").to_dict("records")
        for first, second in _overlapping(rows):
            if first["split"] != second["split"] and _heard_in_both(first["channel"], second["channel"]):
                found.update(first["id"], second["id"])
    return found


def _overlapping(rows: Sequence[_Cut]) -> Iterator[tuple[_Cut, _Cut]]:
    """Yield the pairs of cuts, sorted by their start, that share more than half of the shorter one."""
    for place, first in enumerate(rows):
        for second in rows[place + 1 :]:
            if second["start_s"] >= first["end_s"]:
                break
            shorter = min(cut["end_s"] - cut["start_s"] for cut in (first, second))
            shared = min(first["end_s"], second["end_s"]) - second["start_s"]
            if shared > shorter / 2 or math.isinf(shared):
                yield first, second


def _heard_in_both(channel: float, other: float) -> bool:
    return math.isnan(channel) or math.isnan(other) or channel == other


def groups(manifest: Manifest, kept: Sequence[Utterance], expected: Mapping[str, int]) -> pd.DataFrame:
    """Return one row per label and per split, named `id`; values that do not apply to a group are missing.

    `rows` counts the whole manifest, since `expected` is about the corpus; all other columns count the `kept`.
    """
    total = max(len(kept), 1)
    found: list[dict[str, object]] = []
    for name in sorted({*manifest.labels.names, *expected}):
        splits = [u.split for u in kept if u.emotion == name]
        found.append(
            {
                "id": f"label {name}",
                "rows": sum(u.emotion == name for u in manifest.utterances),
                "expected": expected.get(name),
                "class_share": len(splits) / total,
                **{f"{split}_rows": splits.count(split) for split in SPLITS},
            }
        )
    for split in SPLITS:
        count = sum(u.split == split for u in kept)
        found.append({"id": f"split {split}", "split_rows": count, "split_share": count / total})
    columns = ["id", "rows", "expected", "class_share", *(f"{s}_rows" for s in SPLITS), "split_rows", "split_share"]
    return pd.DataFrame(found, columns=columns).astype({name: "float64" for name in columns[1:]})


def text_damage(text: str) -> str | None:
    """Return why `text` is not what was written (mojibake), or None.

    That is: C1 control characters, which cp1252 bytes read as Latin-1 leave behind; replacement characters; or
    anything that ftfy would decode differently.
    """
    from ftfy import fix_encoding

    for character in text:
        if "\x80" <= character <= "\x9f" or character == "\ufffd":
            return f"mojibake: it holds U+{ord(character):04X}, a trace of a wrong encoding"
    fixed = fix_encoding(text)
    if fixed != text:
        return f"mojibake: {text[:SHOWN]!r} was probably {fixed[:SHOWN]!r}"
    return None
