"""A small IEMOCAP as USC lays it out, quirks and all: two sessions, four dialogues, no word of the real one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

NUMBERS = (2.5, 2.5, 2.5)
UNDECIDED = ("Happiness;", "Happiness; Excited;", "Neutral;")


@dataclass
class Turn:
    """One labelled turn; `text` None: the transcript has no line for it; `said` are the evaluators' lines."""

    id: str
    start_s: float
    end_s: float
    word: str
    text: str | None = None
    numbers: tuple[float, float, float] = NUMBERS
    said: tuple[str, ...] = ("Neutral;",)


# Turns of a dialogue overlap; the letter after the session is not the speaker; two names begin alike.
DIALOGUES: dict[str, list[Turn]] = {
    "Ses01F_impro01": [
        Turn("Ses01F_impro01_F000", 6.2901, 8.2357, "neu", "Excuse me."),
        Turn("Ses01F_impro01_M000", 7.5712, 10.475, "fru", "Do you  have your [LAUGHTER] forms?"),
        Turn("Ses01F_impro01_F001", 10.01, 11.3925, "xxx", "Yeah.", said=UNDECIDED),
        Turn("Ses01F_impro01_M001", 11.0, 12.4, "hap", "Caf\xe9, and it\x92s good\x85", numbers=(5.5, 3.0, 0.5)),
    ],
    "Ses01F_script01_1": [
        Turn("Ses01F_script01_1_M000", 3.0, 4.0, "ang", "What's that?"),
        Turn("Ses01F_script01_1_F000", 2.0, 3.5, "sad", "Nothing."),
    ],
    "Ses05M_script01_1": [Turn("Ses05M_script01_1_F000", 0.5, 1.5, "exc", "It was a clear night.")],
    "Ses05M_script01_1b": [
        Turn("Ses05M_script01_1b_F000", 0.5, 1.5, "neu", "It was a cloudy night."),
        Turn("Ses05M_script01_1b_M000", 1.0, 2.0, "oth", "So it was."),
    ],
}  # fmt: skip
LABELLED = sum(map(len, DIALOGUES.values()))


def session_of(dialogue: str) -> str:
    return f"Session{int(dialogue[3:5])}"


def evaluation(turns: list[Turn]) -> str:
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    for turn in turns:
        numbers = ", ".join(f"{number:.4f}" for number in turn.numbers)
        lines.append(f"[{turn.start_s:.4f} - {turn.end_s:.4f}]\t{turn.id}\t{turn.word}\t[{numbers}]")
        lines += [f"C-E{number}:\t{words}\t()" for number, words in enumerate(turn.said, start=2)]
        lines += [
            "C-F1:\tNeutral;\t(curious)",
            "A-E3:\tval 3; act 2; dom  2;\t()",
            "A-F1:\tval 3; act 2; dom  1;\t()",
            "",
        ]
    return "\n".join(lines)


@dataclass
class Release:
    """The release under `root`, to be spoilt."""

    root: Path
    dialogues: dict[str, list[Turn]] = field(default_factory=lambda: DIALOGUES)

    def write(self) -> Release:
        for dialogue, turns in self.dialogues.items():
            session = self.root / session_of(dialogue)
            for folder in ("EmoEvaluation/Attribute", "EmoEvaluation/Categorical", "transcriptions"):
                (session / "dialog" / folder).mkdir(parents=True, exist_ok=True)
            content = evaluation(turns)
            evaluations = session / "dialog" / "EmoEvaluation"
            (evaluations / f"{dialogue}.txt").write_text(content, encoding="latin-1")
            (evaluations / f"._{dialogue}.txt").write_bytes(b"\x00\x05\x16\x07" + content.encode("latin-1"))
            (evaluations / "Categorical" / f"{dialogue}_e1_cat.txt").write_text(content, encoding="latin-1")
            lines = [f"{turn.id} {times(turn)}: {turn.text}" for turn in turns if turn.text is not None]
            lines += [f"{dialogue}_FXX0 [000.5000-000.9000]: Hm.", "M: [LAUGHTER]", "F:", ""]
            self.transcript(dialogue).write_text("\n".join(lines), encoding="latin-1")
            self.transcript(dialogue).with_name(f"._{dialogue}.txt").write_bytes(b"\x00\x05\x16\x07")
            for turn in turns:
                self.wav(turn.id).parent.mkdir(parents=True, exist_ok=True)
                self.wav(turn.id).write_bytes(b"RIFF")  # whether it decodes is validation's question
                self.wav(turn.id).with_name(f"._{turn.id}.wav").write_bytes(b"\x00\x05\x16\x07")
        return self

    def transcript(self, dialogue: str) -> Path:
        return self.root / session_of(dialogue) / "dialog" / "transcriptions" / f"{dialogue}.txt"

    def wav(self, name: str) -> Path:
        dialogue = name.rpartition("_")[0]
        return self.root / session_of(dialogue) / "sentences" / "wav" / dialogue / f"{name}.wav"


def times(turn: Turn) -> str:
    return f"[{turn.start_s:08.4f}-{turn.end_s:08.4f}]"
