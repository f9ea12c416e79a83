"""Assign utterances to splits by their speaker or session alone, never by the rest of the data.

Only a corpus of one or two speakers may be divided by what was said instead. There is no random split by utterance: it
would put the same speaker on both sides.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.records import SPLITS, Split
from lsgmer.manifests.params import ManifestParams
from lsgmer.manifests.utterance import Utterance

GIVEN = ("given", "official")  # kinds of split that the corpus decides
SALTS_TRIED = 200
SHOWN = 5  # how many ids a message names


def assign_splits(utterances: Sequence[Utterance], params: ManifestParams) -> tuple[Utterance, ...]:
    """Return the utterances, each with a split.

    For `speaker`, `session` and `text` (ignoring case and spacing), sha256(salt, name) read as a number in [0, 1)
    decides: below test_share is test, the next valid_share is valid, the rest is train. So a speaker's split depends
    on the salt and its name alone and never changes when data is added.

    Args:
        utterances: all usable rows of the corpus; their own `split` is used for `given` and `official` only.
        params: the kind of split, the salt and the shares.

    Returns:
        The same utterances in the same order. A split may still be empty: see `demand_every_split`.

    Raises:
        LsgmerError: rows lack the split (`given`, `official`), the session (`session`) or words (`text`); the message
            names some. Or `text` is asked for where speakers are enough to divide by.
        ParamsError: the shares leave nothing to train on.

    """
    if params.split in GIVEN:
        _demand("split", [u.id for u in utterances if u.split is None], "set manifest.split to speaker or session")
        return tuple(utterances)
    if params.valid_share + params.test_share >= 1:
        raise ParamsError("manifest.valid_share and manifest.test_share leave nothing to train on; lower them")
    if params.split == "session":
        nameless = [u.id for u in utterances if u.session is None]
        _demand("session", nameless, "name its column in corpus.columns.session, or set manifest.split to speaker")
    if params.split == "text":
        wordless = [u.id for u in utterances if not (u.text or "").strip()]
        _demand("text", wordless, "give them words, or set manifest.split to speaker or session")
        _demand_few_speakers(utterances)
    return tuple(replace(u, split=split_of(_group(u, params), params)) for u in utterances)


def split_of(name: str, params: ManifestParams) -> Split:
    """Return the split of the speaker or session `name`: a pure function of it, the salt and the shares."""
    drawn = hashlib.sha256(f"{params.salt}\0{name}".encode()).digest()[:8]
    position = int.from_bytes(drawn) / 2**64
    if position < params.test_share:
        return "test"
    return "valid" if position < params.test_share + params.valid_share else "train"


def demand_every_split(utterances: Sequence[Utterance], params: ManifestParams) -> None:
    """Raise LsgmerError when a split is empty, proposing a salt that fills all three if one is found."""
    empty = [split for split in SPLITS if all(u.split != split for u in utterances)]
    if not empty:
        return
    if params.split in GIVEN:
        raise LsgmerError(
            f"no utterance's {params.split} split is {' or '.join(empty)}; train, valid and test are all needed"
        )
    rows = Counter(_group(u, params) for u in utterances)
    raise LsgmerError(
        f"manifest: split {' and '.join(empty)} is empty: the {len(rows)} {params.split}s "
        f"({', '.join(sorted(rows)[:9])}) all fall elsewhere with salt {params.salt!r}; {_other_salt(rows, params)}"
    )


def _group(utterance: Utterance, params: ManifestParams) -> str:
    if params.split == "text":
        return " ".join((utterance.text or "").casefold().split())
    return (utterance.session or "") if params.split == "session" else utterance.speaker


def _demand_few_speakers(utterances: Sequence[Utterance]) -> None:
    speakers = {u.speaker for u in utterances}
    if len(speakers) >= len(SPLITS):
        raise LsgmerError(
            f"manifest.split: text would put {len(speakers)} speakers on both sides; it is for corpora of one or two, "
            "which cannot be divided otherwise: set manifest.split to speaker or session"
        )


def _demand(field: str, nameless: Sequence[str], remedy: str) -> None:
    if nameless:
        named = ", ".join(nameless[:SHOWN])
        raise LsgmerError(
            f"manifest.split needs every row's {field}; {len(nameless)} have none, such as {named}; {remedy}"
        )


def _other_salt(rows: Mapping[str, int], params: ManifestParams) -> str:
    """Return advice: of the salts tried that fill every split, the one that comes nearest to the shares."""
    if len(rows) < len(SPLITS):
        few = "; with fewer speakers, set manifest.split to text" if params.split == "speaker" else ""
        return f"three splits need at least three {params.split}s{few}"
    wanted = {"test": params.test_share, "valid": params.valid_share}

    def miss(salt: str) -> float:
        tried = params.model_copy(update={"salt": salt})
        filled: Counter[str] = Counter()
        for name, count in rows.items():
            filled[split_of(name, tried)] += count
        full = all(filled[split] for split in SPLITS)
        return max(abs(filled[s] / filled.total() - share) for s, share in wanted.items()) if full else 2.0

    best = min((f"{params.salt}-{n}" for n in range(2, SALTS_TRIED)), key=miss)
    if miss(best) > 1:
        return "raise manifest.valid_share or manifest.test_share"
    return f"set manifest.salt to {best!r}, which fills all three"
