"""What is expected of a corpus, as data: which Great Expectations class, on which column, how severe, what to do.

Nothing here imports Great Expectations: only `lsgmer.validation.checker` does, which runs these rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lsgmer.core.records import SPLITS, Labels
from lsgmer.validation.frame import COLUMNS, DERIVED, NUMBERS
from lsgmer.validation.params import ValidateParams

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """One expectation. `kind` is the Great Expectations class, `name` ours.

    `reason` says why a row that breaks it is quarantined; without one, the rule is about the corpus, not about
    the row. `shown` is the column by which messages name an offender.
    """

    name: str
    kind: str
    arguments: Mapping[str, Any]
    severity: Literal["critical", "warning"]
    remedy: str
    reason: Callable[[Row], str] | None = None
    shown: str = "id"


def row_rules(params: ValidateParams, labels: Labels) -> tuple[Rule, ...]:
    """Return what is expected of every row of the manifest (the frame of `frame.to_frame`)."""
    aside = "mend or replace these, or leave them in quarantine"
    columns = [*COLUMNS, *NUMBERS, *DERIVED, "error"]
    again = "this is a fault of lsgmer, not of the data; run `dvc repro --force manifest`"
    return (
        Rule(
            "columns",
            "ExpectTableColumnsToMatchSet",
            {"column_set": columns, "exact_match": True},
            "critical",
            again,
        ),
        Rule("ids_unique", "ExpectColumnValuesToBeUnique", {"column": "id"}, "critical", "give every row its own id"),
        Rule(
            "labels_known",
            "ExpectColumnValuesToBeInSet",
            {"column": "emotion", "value_set": list(labels.names)},
            "critical",
            "add the word to corpus.label_map or the label to corpus.labels",
        ),
        Rule(
            "splits_known",
            "ExpectColumnValuesToBeInSet",
            {"column": "split", "value_set": list(SPLITS)},
            "critical",
            again,
        ),
        Rule(
            "audio_hashed",
            "ExpectColumnValuesToMatchRegex",
            {"column": "sha256", "regex": "^[0-9a-f]{64}$"},
            "critical",
            again,
        ),
        *(_row_rule(*given, aside) for given in _content_rules()),
        *(_row_rule(*given, aside) for given in _level_rules(params)),
        *_channel_rules(),
    )


def kept_rules(split: str) -> tuple[Rule, ...]:
    """Return what is expected of the rows that are kept, all together (the frame of `frame.add_reach`).

    `split` is manifest.split. An official partition is not ours to change, so the speakers and recordings that its
    splits share are warnings. Nor can one or two speakers be divided, where what was said decides (`text`).
    """
    repeated = "fine where the corpus repeats its sentences; otherwise text may be learnt"
    text = _one_split("text", "warning", repeated, "id")
    if split == "official":
        shared = "the official split shares speakers; numbers are not speaker-independent"
        copied = "the official split holds copies of recordings; name them beside the numbers"
        return (
            _one_split("speaker", "warning", shared, "speaker"),
            _one_split("dialogue", "critical", "correct the corpus's own partition: get it again", "dialogue"),
            _one_split("audio", "warning", copied, "id"),
            text,
        )
    apart = "correct the split column, or set manifest.split to speaker"
    copied = "keep one copy of each recording, or put all copies into one split"
    if split == "text":
        shared = "too few speakers to divide by; numbers are not speaker-independent"
        return (
            _one_split("speaker", "warning", shared, "speaker"),
            _one_split("audio", "critical", copied, "id"),
            _one_split("text", "critical", "this is a fault of lsgmer, not of the data", "id"),
        )
    rules = [_one_split("speaker", "critical", apart, "speaker"), _one_split("audio", "critical", copied, "id"), text]
    if split == "session":
        rules.insert(1, _one_split("session", "critical", "correct the session column", "session"))
    return tuple(rules)


def group_rules(params: ValidateParams) -> tuple[Rule, ...]:
    """Return what is expected of the labels and splits as groups (the frame of `frame.groups`)."""
    more = "add such utterances, or merge or drop the label through corpus.label_map"
    return (
        Rule(
            "expected_counts",
            "ExpectColumnPairValuesToBeEqual",
            {"column_A": "rows", "column_B": "expected", "ignore_row_if": "either_value_is_missing"},
            "critical",
            "find the missing or surplus rows (data/manifest/rejected.csv), or correct corpus.expected_counts",
        ),
        _at_least("splits_filled", "split_rows", 1, "critical", "change manifest.salt or the shares of the splits"),
        _at_least("labels_in_train", "train_rows", 1, "critical", more),
        _at_least("labels_in_valid", "valid_rows", 1, "warning", more),
        _at_least("labels_in_test", "test_rows", 1, "warning", more),
        _at_least("class_shares", "class_share", params.min_class_share, "warning", more),
        _at_least("split_shares", "split_share", params.min_split_share, "warning", "change the shares of the splits"),
    )


def _channel_rules() -> tuple[Rule, ...]:
    """Return what is expected of recordings with several channels of which none is named."""
    choose = "name the one to read in corpus.channel, or in a column of the table (corpus.columns.channel)"
    said = {
        "cancel": f"mixed to mono, their channels cancel out; {choose}",
        "differ": f"their channels have little in common, as with a person on each, or one is silent; {choose}",
    }
    kind = "ExpectColumnValuesToNotBeInSet"
    return tuple(
        Rule(f"channels_{word}", kind, {"column": "mixing", "value_set": [word]}, "warning", remedy)
        for word, remedy in said.items()
    )


_Given = tuple[str, str, Mapping[str, Any], Callable[[Row], str]]


def _content_rules() -> tuple[_Given, ...]:
    null, filled = "ExpectColumnValuesToBeNull", "ExpectColumnValuesToNotBeNull"
    frames = {"column_A": "header_frames", "column_B": "decoded_frames", "ignore_row_if": "either_value_is_missing"}
    return (
        ("content_present", filled, {"column": "content"}, lambda row: "neither audio nor text"),
        ("audio_decodes", null, {"column": "decode_error"}, lambda row: str(row["decode_error"])),
        ("audio_complete", "ExpectColumnPairValuesToBeEqual", frames, lambda row: str(row["error"])),
        ("cut_within_file", null, {"column": "cut_error"}, lambda row: str(row["cut_error"])),
        ("text_intact", null, {"column": "text_damage"}, lambda row: str(row["text_damage"])),
    )


def _level_rules(params: ValidateParams) -> tuple[_Given, ...]:
    between, limits = "ExpectColumnValuesToBeBetween", params.audio_limits
    low, high = params.min_duration_s, params.max_duration_s
    bounds: dict[str, dict[str, Any]] = {
        "sample_rate": {"column": "sample_rate", "min_value": params.min_sample_rate},
        "duration": {"column": "duration_s", "min_value": low, "max_value": high},
        "silence": {"column": "silence_share", "max_value": params.max_silence_share},
        "clipping": {"column": "clipping_share", "max_value": params.max_clipping_share},
    }
    return tuple(
        (rule, between, arguments, lambda row, rule=rule: limits.breaches(row)[rule])
        for rule, arguments in bounds.items()
    )


def _row_rule(name: str, kind: str, arguments: Mapping[str, Any], reason: Callable[[Row], str], remedy: str) -> Rule:
    return Rule(name, kind, arguments, "warning", remedy, reason)


def _one_split(what: str, severity: Literal["critical", "warning"], remedy: str, shown: str) -> Rule:
    arguments = {"column": f"{what}_splits", "max_value": 1}
    return Rule(f"{what}_in_one_split", "ExpectColumnValuesToBeBetween", arguments, severity, remedy, shown=shown)


def _at_least(name: str, column: str, least: float, severity: Literal["critical", "warning"], remedy: str) -> Rule:
    return Rule(name, "ExpectColumnValuesToBeBetween", {"column": column, "min_value": least}, severity, remedy)
