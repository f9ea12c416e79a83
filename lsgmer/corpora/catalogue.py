"""What is known about each corpus before anyone has it: layout, licence, how to get it, and what it must contain.

Nothing heavy is imported here, so that `lsgmer corpora` answers at once. lsgmer.corpora.readers lists the readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CorpusRecord:
    """One corpus. `layout` is relative to corpus.path; `counts` are rows by the corpus's own word for the emotion.

    `params` are the ready parameter files; `counts` is empty where the user brings the corpus.
    """

    name: str
    summary: str
    layout: tuple[str, ...]
    licence: str
    obtain: str
    params: tuple[str, ...]
    counts: Mapping[str, int] = field(default_factory=dict)

    def render(self) -> str:
        """Return the record as a block of text for a terminal."""
        total = sum(self.counts.values())
        counted = ", ".join(f"{word} {count}" for word, count in self.counts.items())
        lines = [
            f"{self.name}: {self.summary}",
            f"  get      {self.obtain}",
            f"  licence  {self.licence}",
            f"  layout   {self.layout[0]}",
            *(f"           {line}" for line in self.layout[1:]),
            f"  expected {f'{total:,} utterances: {counted}' if counted else 'corpus.expected_counts, where given'}",
            f"  params   {', '.join(self.params)}",
        ]
        return "\n".join(lines)


RECORDS: dict[str, CorpusRecord] = {
    record.name: record
    for record in (
        CorpusRecord(
            name="sample",
            summary="synthetic speech by eSpeak NG, embedded: shows that the pipeline works and nothing about people",
            layout=("utterances.csv", "audio/*.flac"),
            licence="made here",
            obtain="nothing to do: `lsgmer run` makes it",
            params=("params.yaml",),
        ),
        CorpusRecord(
            name="table",
            summary="bring your own: a row per utterance",
            layout=("TABLE.csv, .tsv or .parquet", "audio anywhere inside the folder"),
            licence="yours",
            obtain="docs/corpora.md says what each column means",
            params=("params/nemo.yaml (an example: 530 recordings of nEMO, Polish, CC BY-NC-SA 4.0)",),
        ),
        CorpusRecord(
            name="calls",
            summary="bring your own: recordings of conversations, each with its turns in a file of the same name",
            layout=(
                "CALL.wav, .flac, ... anywhere inside the folder, and beside each",
                "CALL.rttm, .srt, .vtt, .json, .csv or .tsv: who speaks when, and the words",
                "TABLE.csv (optional): the emotion of each turn, where the turn files do not hold it",
            ),
            licence="yours",
            obtain="docs/corpora.md says what a turn file and the table hold",
            params=("params/calls.yaml (an example)",),
        ),
        CorpusRecord(
            name="filenames",
            summary="bring your own: audio files whose names say speaker and emotion",
            layout=("audio anywhere inside the folder; corpus.files.pattern explains the names",),
            licence="yours",
            obtain="docs/corpora.md says what a pattern is; the files of the corpora below are examples",
            params=("params/ravdess.yaml (an example)",),
        ),
        CorpusRecord(
            name="iemocap",
            summary="IEMOCAP: 10 actors in 5 dyadic sessions, improvised and scripted, English, 12 hours",
            layout=(
                "Session{1..5}/dialog/EmoEvaluation/DIALOG.txt",
                "Session{1..5}/dialog/transcriptions/DIALOG.txt",
                "Session{1..5}/sentences/wav/DIALOG/UTTERANCE.wav",
            ),
            licence="by agreement with USC, research only; it may not be passed on",
            obtain="request it at https://sail.usc.edu/iemocap/ and unpack; corpus.path is IEMOCAP_full_release",
            params=("params/iemocap4.yaml", "params/iemocap6.yaml"),
            counts={
                "xxx": 2507,
                "fru": 1849,
                "neu": 1708,
                "ang": 1103,
                "sad": 1084,
                "exc": 1041,
                "hap": 595,
                "sur": 107,
                "fea": 40,
                "oth": 3,
                "dis": 2,
            },
        ),
        CorpusRecord(
            name="meld",
            summary="MELD: 1,432 dialogues of the series Friends, English, with an official partition",
            layout=(
                "train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv",
                "wav/{train,dev,test}/diaX_uttY.wav (with corpus.clips: wav; `lsgmer import-meld` makes them)",
            ),
            licence="annotations GPL-3.0; the dialogue and the clips belong to the owners of the series",
            obtain="https://affective-meld.github.io: the CSVs, and MELD.Raw for the clips",
            params=("params/meld.yaml (text only)",),
            counts={
                "neutral": 6436,
                "joy": 2308,
                "anger": 1607,
                "surprise": 1636,
                "sadness": 1002,
                "disgust": 361,
                "fear": 358,
            },
        ),
        CorpusRecord(
            name="emodb",
            summary="EmoDB (Berlin): 10 actors, 10 fixed German sentences, 7 emotions",
            layout=("wav/03a01Wa.wav: speaker 03, sentence a01, emotion W, version a",),
            licence="free to use, no licence text; cite Burkhardt et al., Interspeech 2005",
            obtain="http://emodb.bilderbar.info: download.zip",
            params=("params/emodb.yaml",),
            counts={
                "anger": 127,
                "boredom": 81,
                "disgust": 46,
                "fear": 69,
                "happiness": 71,
                "sadness": 62,
                "neutral": 79,
            },
        ),
        CorpusRecord(
            name="cremad",
            summary="CREMA-D: 91 actors, 12 fixed English sentences, 6 emotions",
            layout=(
                "AudioWAV/1001_DFA_ANG_XX.wav: actor, sentence, emotion, intensity",
                "VideoDemographics.csv (optional: the actors' sex)",
            ),
            licence="Open Database License (ODbL) 1.0",
            obtain="https://github.com/CheyneyComputerScience/CREMA-D, with Git LFS",
            params=("params/cremad.yaml",),
            counts={"ANG": 1271, "DIS": 1271, "FEA": 1271, "HAP": 1271, "NEU": 1087, "SAD": 1271},
        ),
        CorpusRecord(
            name="ravdess",
            summary="RAVDESS, speech: 24 actors, 2 fixed English sentences, 8 emotions",
            layout=(
                "Actor_12/03-01-06-01-02-01-12.wav: modality 03 (audio), kind 01 (speech), emotion, intensity,",
                "sentence, repetition, actor; songs (03-02-...) are left out",
            ),
            licence="CC BY-NC-SA 4.0",
            obtain="https://zenodo.org/record/1188976: Audio_Speech_Actors_01-24.zip",
            params=("params/ravdess.yaml",),
            counts={
                "neutral": 96,
                "calm": 192,
                "happy": 192,
                "sad": 192,
                "angry": 192,
                "fearful": 192,
                "disgust": 192,
                "surprised": 192,
            },
        ),
        CorpusRecord(
            name="tess",
            summary="TESS (Toronto): 2 actresses, 200 words in one English sentence, 7 emotions",
            layout=("OAF_angry/OAF_back_angry.wav: actress, word, emotion; the folders do not matter",),
            licence="CC BY-NC-ND 4.0",
            obtain="https://doi.org/10.5683/SP2/E8H2MF",
            params=("params/tess.yaml",),
            counts={
                "angry": 400,
                "disgust": 400,
                "fear": 400,
                "happy": 400,
                "neutral": 400,
                "pleasant surprise": 400,
                "sad": 400,
            },
        ),
        CorpusRecord(
            name="savee",
            summary="SAVEE (Surrey): 4 men, 120 English sentences, 7 emotions",
            layout=("AudioData/DC/a01.wav, or ALL/DC_a01.wav: speaker, emotion, number",),
            licence="free for research after registration, no licence text",
            obtain="register at http://personal.ee.surrey.ac.uk/Personal/P.Jackson/SAVEE/Register.html: AudioData.zip",
            params=("params/savee.yaml",),
            counts={
                "anger": 60,
                "disgust": 60,
                "fear": 60,
                "happiness": 60,
                "neutral": 120,
                "sadness": 60,
                "surprise": 60,
            },
        ),
        CorpusRecord(
            name="esd",
            summary="ESD: 20 speakers, 350 sentences in Mandarin and 350 in English, 5 emotions",
            layout=("0011/Angry/0011_000351.wav, or 0011/Angry/train/0011_000351.wav: speaker, emotion, number",),
            licence="research only, by its ReadMe",
            obtain="https://github.com/HLTSingapore/Emotional-Speech-Data",
            params=("params/esd.yaml",),
            counts={"Angry": 7000, "Happy": 7000, "Neutral": 7000, "Sad": 7000, "Surprise": 7000},
        ),
    )
}


def render() -> str:
    """Return every corpus, for `lsgmer corpora`."""
    return "\n\n".join(record.render() for record in RECORDS.values())
