"""MELD, as its authors publish it: a CSV per split, and the clips as WAV files where audio is asked for.

The official partition shares speakers between splits: under `manifest.split: official` that is a warning. Audio is
looked up from the CSV's rows, since the clip folders hold about 90 clips that no row names.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.records import Split
from lsgmer.corpora.base import SHOWN, Unfit, label_of, mend
from lsgmer.corpora.params import CorpusParams
from lsgmer.corpora.tabular import Row, read_rows
from lsgmer.manifests.utterance import CorpusReading, Note, RejectedRow, Utterance

# The official name of each split, which is part of ids and of the clips' folders: dialogue numbers restart in each.
OFFICIAL: dict[str, Split] = {"train": "train", "dev": "valid", "test": "test"}
TABLE = "{}_sent_emo.csv"
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID", "Season", "Episode")
JOINT = re.compile(r" and |/|&|,|^All$|^Both$")  # "Joey and Chandler": several voices under one name
# Clips of MELD.Raw that are not the utterance they are named for. The row keeps its words but not its audio.
FAULTY_CLIPS = {
    ("train", 125, 3): "the clip is corrupt",
    ("train", 309, 0): "the clip is wrongly cut: 41 s",
    ("dev", 110, 7): "the release has no such clip",
    ("test", 38, 4): "the clip is wrongly cut: 304.9 s",
    ("test", 155, 3): "the clip has zero length",
    ("test", 220, 0): "the clip is wrongly cut: 235.1 s",
    ("test", 263, 7): "the clip is silent",
}


def read(params: CorpusParams, root: Path) -> CorpusReading:
    """Read the three CSVs in `root`; with `params.clips: wav`, audio is root/wav/{train,dev,test}/diaX_uttY.wav.

    Raises LsgmerError for a missing or unreadable CSV or column, or where clips were asked for and not imported.
    """
    _demand_clips(params, root)
    utterances: list[Utterance] = []
    rejected: list[RejectedRow] = []
    noted: defaultdict[str, list[str]] = defaultdict(list)
    for official in OFFICIAL:
        table = TABLE.format(official)
        first_row: dict[str, str] = {}
        for row in rows_of(root / table):
            try:
                utterance = _utterance(row, official, params)
                if utterance.id in first_row:
                    raise Unfit(f"its dialogue and utterance are already those of {first_row[utterance.id]}")
            except Unfit as reason:
                rejected.append(RejectedRow(table, row.name, str(reason)))
                continue
            first_row[utterance.id] = row.name
            utterances.append(utterance)
            for what in _faults(row, official, utterance, params):
                noted[what].append(utterance.id)
    return CorpusReading(
        tuple(utterances), tuple(rejected), tuple(Note(what, tuple(names)) for what, names in noted.items())
    )


def rows_of(path: Path) -> list[Row]:
    """Return the rows of one official CSV. Raises LsgmerError when it is missing, unreadable or lacks a column."""
    if not path.is_file():
        raise LsgmerError(f"{path}: no such file; set corpus.path to the folder of MELD's three *_sent_emo.csv")
    header, rows = read_rows(path)
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise LsgmerError(f"{path}: no column {', '.join(missing)}; its columns are {', '.join(header)}: get it again")
    return rows


def clip_of(row: Row) -> tuple[int, int]:
    """Return the row's dialogue and utterance number. Raises Unfit."""
    if row.problem:
        raise Unfit(row.problem)
    numbers = []
    for column in ("Dialogue_ID", "Utterance_ID"):
        cell = row.cells[column].strip()
        if not (cell.isascii() and cell.isdigit()):
            raise Unfit(f"{column} {cell[:SHOWN]!r} is not a whole number")
        numbers.append(int(cell))
    return numbers[0], numbers[1]


def _demand_clips(params: CorpusParams, root: Path) -> None:
    remedy = (
        "import them with `lsgmer import-meld MELD.Raw FOLDER`, then set corpus.path to FOLDER and corpus.clips to "
        "wav, or set corpus.clips to none for text only"
    )
    if params.clips == "mp4":
        raise ParamsError(f"corpus.clips: mp4: clips are not read from video while the pipeline runs; {remedy}")
    if params.clips == "wav" and not (root / "wav").is_dir():
        raise LsgmerError(f"{root / 'wav'}: no clips here; {remedy}")


def _utterance(row: Row, official: str, params: CorpusParams) -> Utterance:
    """Return the row as an utterance. Raises Unfit."""
    dialogue, turn = clip_of(row)
    cell = {name: mend(row.cells[name]).strip() for name in COLUMNS}
    empty = [name for name in ("Utterance", "Speaker", "Emotion") if not cell[name]]
    if empty:
        raise Unfit(f"{', '.join(empty)}: empty")
    faulty = (official, dialogue, turn) in FAULTY_CLIPS
    clip = f"dia{dialogue}_utt{turn}"
    return Utterance(
        id=f"{official}-{clip}",
        corpus=params.name,
        speaker=cell["Speaker"],
        emotion_raw=cell["Emotion"],
        emotion=label_of(cell["Emotion"], params),
        split=OFFICIAL[official],
        session=f"s{cell['Season']}e{cell['Episode']}",
        dialogue=f"{official}-dia{dialogue}",
        turn=turn,
        audio=f"wav/{official}/{clip}.wav" if params.clips == "wav" and not faulty else None,
        text=cell["Utterance"],
        tags=("joint_speakers",) if JOINT.search(cell["Speaker"]) else (),
    )


def _faults(row: Row, official: str, utterance: Utterance, params: CorpusParams) -> list[str]:
    """Return what was done to the row, in the same words for the same fault."""
    found = []
    if any(mend(row.cells[name]) != row.cells[name] for name in COLUMNS):
        found.append("text mended: Windows-1252 characters that stood as U+0080 to U+009F")
    reason = FAULTY_CLIPS.get((official, *clip_of(row)))
    if params.clips == "wav" and reason:
        found.append(f"words only: {reason}")
    if utterance.tags:
        found.append("several speakers under one name, which counts as a speaker of its own")
    return found
