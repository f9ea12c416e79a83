"""Stage `features`: encodes every utterance, resumably, into one memory-mapped feature store per split."""

from __future__ import annotations

import errno
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from lsgmer.audio import decode
from lsgmer.core.device import choose_device, set_threads
from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace, write_atomically
from lsgmer.core.progress import track
from lsgmer.core.records import SIDE_BY_SIDE, SPLITS, EncoderSpec, Labels, Modality, Split, digest
from lsgmer.core.sections import ComputeParams, CorpusFolder, Part, Sections
from lsgmer.core.stage import run_stage
from lsgmer.encoders.build import (
    AudioEncoder,
    Precomputed,
    TextEncoder,
    build_audio,
    build_precomputed,
    build_text,
)
from lsgmer.encoders.params import FeaturesParams, FinetuneParams, FinetunePart
from lsgmer.features.augment import Augmentation
from lsgmer.features.automatic import AutomaticWords, transcribe_missing
from lsgmer.features.batch import length_buckets
from lsgmer.features.dialogues import has_text, words_before
from lsgmer.features.links import link_encoders
from lsgmer.features.normalise import Level, RunningLevel, levels_of
from lsgmer.features.store import Frames, Levels, write_split
from lsgmer.manifests.utterance import Utterance
from lsgmer.manifests.validated import ValidatedManifest

Array = np.ndarray[Any, Any]
Encode = Callable[[Sequence[Utterance]], list[Array]]
PRECOMPUTED = "precomputed"
TRANSCRIPTS = "transcripts"  # folder in scratch
BatchPlan = dict[Split, list[list[int]]]  # per split, batches of rows of that split


class Needs(Sections):
    """What the stage reads of params.yaml."""

    runtime: Part[ComputeParams]
    corpus: Part[CorpusFolder]
    features: FeaturesParams
    train: Part[FinetunePart]


@dataclass(frozen=True, slots=True)
class ModalityReader:
    """How one modality is read: the encoder's spec, an utterance's length (None if absent), and the encoding itself."""

    spec: EncoderSpec
    length: Callable[[Utterance], int | None]
    encode: Encode


@dataclass(frozen=True, slots=True)
class Extraction:
    """The extraction of one modality: its batches, and the scratch folder with the finished ones."""

    spec: EncoderSpec
    encode: Encode
    plan: BatchPlan
    folder: Path

    def batches(self) -> list[tuple[Split, list[int], Path]]:
        """Return (split, rows, shard file) of every batch, in order."""
        flat = [(split, rows) for split in SPLITS for rows in self.plan[split]]
        return [(split, rows, self.folder / f"{i:06}.npz") for i, (split, rows) in enumerate(flat)]

    def frames(self, split: Split, count: int) -> Frames:
        """Return the finished features of `split`, which has `count` rows."""
        lengths = [0] * count
        shards = [(rows, file) for name, rows, file in self.batches() if name == split]
        for rows, file in shards:
            with np.load(file, allow_pickle=False) as shard:
                for row, length in zip(rows, shard["lengths"].tolist(), strict=True):
                    lengths[row] = length
        return Frames(self.spec, lengths, _pieces(shards))


def run(workspace: Workspace, params: Needs) -> None:
    """Encode the validated manifest into data/features/{train,valid,test}.

    Finished batches are kept in .lsgmer/scratch/features, keyed by encoder, manifest and batch plan, so a stage
    that was killed resumes where it stopped and writes the same bytes. Raises LsgmerError for bad input and
    OSError, naming the folder, for a full disk.
    """
    set_threads(params.runtime.threads)
    link_encoders(workspace, params.features)
    manifest = ValidatedManifest.load(workspace.data("validate"))
    scratch, size = workspace.scratch / "features", params.features.batch_size
    words = find_words(manifest, params, workspace, scratch / TRANSCRIPTS)
    manifest = replace(manifest, utterances=words.utterances)
    parts: dict[Split, list[Utterance]] = {s: [u for u in manifest.utterances if u.split == s] for s in SPLITS}
    augmentation = Augmentation(parts["train"], params.features.augment)
    clean = dict(parts)
    parts["train"] = [*parts["train"], *augmentation.copies]
    corpus, device = workspace.root / params.corpus.path, str(choose_device(params.runtime.device))
    encoders = build(params.features, params.train.finetune, workspace.root, corpus, device)
    frozen = build(params.features, FinetuneParams(), workspace.root, corpus, device)
    context = params.features.text.context
    readers = {
        m: reader_of(m, e, manifest, corpus, context, augmentation) for m, e in encoders.items() if e is not None
    }
    check_readable(manifest.utterances, list(readers.values()))
    mode = params.features.normalise if "audio" in readers else "none"
    check_normalise(mode, params.train.finetune, manifest.utterances)
    learning = [m for m in readers if getattr(params.train.finetune, m) != "none"]
    summaries = {
        m: summary_of(reader_of(m, _given(frozen[m]), manifest, corpus, context, augmentation)) for m in learning
    }

    made_of = [part for part in (params.features.augment, words.key) if part]
    key = digest([manifest.sha256, *made_of]) if made_of else manifest.sha256
    work = {m: _extraction(m, reader, parts, size, key, scratch) for m, reader in readers.items()}
    pooled = {m: _extraction(f"{m}-summary", reader, parts, size, key, scratch) for m, reader in summaries.items()}
    remove_all_but(scratch, {scratch / TRANSCRIPTS, *(part.folder for part in (*work.values(), *pooled.values()))})
    for modality, part in work.items():
        extract(part, parts, f"features-{modality}")
    for modality, part in pooled.items():
        extract(part, parts, f"features-{modality}-summary")
    label_text = embed_labels(manifest.labels, frozen["text"])
    training = training_level(work["audio"].frames("train", len(parts["train"]))) if mode != "none" else None
    cut = texts_cut(clean, encoders["text"], params.features.text.max_tokens)
    for split, utterances in parts.items():
        folder = workspace.data("features") / split
        frames = {modality: part.frames(split, len(utterances)) for modality, part in work.items()}
        summed = {modality: part.frames(split, len(utterances)) for modality, part in pooled.items()}
        levels = None
        if training is not None:
            groups = [augmentation.group(u, str(getattr(u, mode))) for u in utterances]
            frames["audio"], levels = without_levels(frames["audio"], work["audio"], split, groups, training)
        automatic = words.marks([augmentation.origin(u) for u in utterances])
        labels, sha256 = manifest.labels, manifest.sha256
        with naming_full_disk(folder):
            write_split(
                folder,
                split,
                utterances,
                labels,
                frames,
                label_text,
                sha256,
                summed,
                mode,
                levels,
                cut[split],
                automatic,
            )
    shutil.rmtree(scratch, ignore_errors=True)


def find_words(manifest: ValidatedManifest, params: Needs, workspace: Workspace, folder: Path) -> AutomaticWords:
    """Return the utterances, with automatic words where `features.text.transcribe` asks for them and none are given."""
    asked = params.features.text.transcribe
    if asked is None:
        return AutomaticWords.none(manifest.utterances)
    from lsgmer.speech.transcribe import build_transcriber

    transcriber = build_transcriber(asked, workspace.root, str(choose_device(params.runtime.device)))
    with naming_full_disk(folder):
        return transcribe_missing(manifest.utterances, transcriber, workspace.root / params.corpus.path, folder)


def build(
    features: FeaturesParams, finetune: FinetuneParams, root: Path, corpus: Path, device: str
) -> dict[Modality, AudioEncoder | TextEncoder | Precomputed | None]:
    """Return each modality's encoder, up to where `finetune` starts to learn; None without one."""
    audio, text = features.audio, features.text
    audio_kind = SIDE_BY_SIDE if isinstance(audio, tuple) else audio.kind
    for modality, kind in (("audio", audio_kind), ("text", text.kind)):
        if kind == PRECOMPUTED and getattr(finetune, modality) != "none":
            raise LsgmerError(
                f"train.finetune.{modality}: the features are precomputed, so no layer of theirs can learn; set it to "
                "none, or give the encoder itself"
            )
    return {
        "audio": build_precomputed("audio", audio, corpus)
        if not isinstance(audio, tuple) and audio.kind == PRECOMPUTED
        else build_audio(audio, root, device, finetune.audio),
        "text": build_precomputed("text", text, corpus)
        if text.kind == PRECOMPUTED
        else build_text(text, root, device, finetune.text),
    }


def check_normalise(mode: str, finetune: FinetuneParams, utterances: Sequence[Utterance]) -> None:
    """Raise LsgmerError unless the audio levels of each speaker or session can be removed from what is stored."""
    if mode == "none":
        return
    if finetune.audio != "none":
        raise LsgmerError(
            f"features.normalise: {mode} and train.finetune.audio: {finetune.audio} exclude each other: what is stored "
            "lies below the layers that learn, and they expect it as it is; set one of them to none"
        )
    nameless = [u.id for u in utterances if getattr(u, mode) is None]
    if nameless:
        raise LsgmerError(
            f"features.normalise: {mode}: {len(nameless)} utterances have no {mode}, such as {nameless[:3]}; name its "
            f"column in corpus.columns.{mode}, or normalise by speaker"
        )


def texts_cut(
    parts: dict[Split, list[Utterance]], encoder: AudioEncoder | TextEncoder | Precomputed | None, most: int
) -> dict[Split, int]:
    """Return how many texts of each split the encoder reads only in part; print how many there are, and some ids."""
    if encoder is None or isinstance(encoder, Precomputed):
        return dict.fromkeys(parts, 0)
    words = cast(TextEncoder, encoder)
    cut = {
        split: [u.id for u in utterances if has_text(u) and words.tokens_left_out(str(u.text))]
        for split, utterances in parts.items()
    }
    ids = [name for names in cut.values() for name in names]
    if ids:
        more = ", ..." if len(ids) > 3 else ""
        print(
            f"features-text: warning: {len(ids)} texts are longer than features.text.max_tokens ({most}) and cut: "
            f"{', '.join(ids[:3])}{more}",
            flush=True,
        )
    return {split: len(names) for split, names in cut.items()}


def training_level(frames: Frames) -> Level:
    """Return the level of all frames of the training split."""
    running = RunningLevel()
    for _, values in frames.pieces:
        running.add(values)
    if not running.count:
        raise LsgmerError("features.normalise: the training split has no audio; set it to none")
    return running.level()


def without_levels(
    frames: Frames, part: Extraction, split: Split, groups: Sequence[str], training: Level
) -> tuple[Frames, Levels]:
    """Return `frames` of `split` without the level of each row's group, and these levels."""
    found = levels_of(groups, part.frames(split, len(groups)).pieces)
    names = sorted(set(groups))
    levels = Levels(
        groups=tuple(found.get(name, training) for name in names),
        rows=np.array([names.index(name) for name in groups], dtype=np.int64),
        training=training,
    )
    pieces = ((row, levels.of(row).remove(values)) for row, values in frames.pieces)
    return Frames(frames.spec, frames.lengths, pieces), levels


def summary_of(reader: ModalityReader) -> ModalityReader:
    """Return the reader of (1, 2 D): mean and standard deviation over time of the frames that `reader` reads.

    The linear baseline reads these where the store holds what lies below the layers that learn.
    """

    def encode(utterances: Sequence[Utterance]) -> list[Array]:
        frames = [np.asarray(values, dtype=np.float64) for values in reader.encode(utterances)]
        return [np.concatenate([f.mean(0), f.std(0)]).astype(np.float32)[None] for f in frames]

    return ModalityReader(
        reader.spec.model_copy(update={"dimension": 2 * reader.spec.dimension}), reader.length, encode
    )


def plan_batches(
    parts: dict[Split, list[Utterance]], length_of: Callable[[Utterance], int | None], batch_size: int
) -> BatchPlan:
    """Return batches of rows of similar length per split; rows whose length is None are in no batch."""
    plan: BatchPlan = {}
    for split, utterances in parts.items():
        lengths = {row: n for row, u in enumerate(utterances) if (n := length_of(u)) is not None}
        rows = list(lengths)
        plan[split] = [[rows[i] for i in group] for group in length_buckets(list(lengths.values()), batch_size)]
    return plan


def extract(part: Extraction, parts: dict[Split, list[Utterance]], what: str) -> None:
    """Encode every batch that has no shard yet. A shard appears whole or not at all."""
    batches = part.batches()
    with naming_full_disk(part.folder):
        part.folder.mkdir(parents=True, exist_ok=True)
        for leftover in part.folder.glob(".*"):  # half-written by a process that was killed
            leftover.unlink()
        missing = [batch for batch in batches if not batch[2].is_file()]
        done = len(batches) - len(missing)
        if done:
            print(f"{what}: resuming: {done} of {len(batches)} batches already done", flush=True)
        for split, rows, file in track(missing, len(batches), what, start=done):
            values = part.encode([parts[split][row] for row in rows])
            content = io.BytesIO()
            np.savez(content, lengths=np.array([len(v) for v in values]), flat=np.concatenate(values))
            write_atomically(file, content.getvalue())


def reader_of(
    modality: Modality,
    encoder: AudioEncoder | TextEncoder | Precomputed,
    manifest: ValidatedManifest,
    corpus: Path,
    context: int,
    augmentation: Augmentation,
) -> ModalityReader:
    """Return how `encoder` reads utterances: audio in the folder `corpus`, text after `context` earlier utterances."""
    if isinstance(encoder, Precomputed):
        if augmentation.copies:
            raise LsgmerError(f"features.augment: features.{modality} is precomputed, so nothing can be perturbed")
        found, unused = encoder.matches([u.id for u in manifest.utterances])
        missing = len(manifest.utterances) - found
        print(f"features-{modality}: precomputed for {found} utterances, none for {missing}; {unused} ids unused")
        return ModalityReader(
            encoder.spec, lambda u: encoder.length(u.id), lambda us: encoder.look_up([u.id for u in us])
        )
    if modality == "audio":
        speech = cast(AudioEncoder, encoder)
        return ModalityReader(
            encoder.spec,
            lambda u: round(1000 * manifest.durations[augmentation.origin(u)]) if u.audio else None,
            lambda us: speech.encode(
                [augmentation.sound(u, decode(corpus / str(u.audio), u.start_s, u.end_s, u.channel)) for u in us]
            ),
        )
    words, before = cast(TextEncoder, encoder), words_before(manifest.utterances, context)
    return ModalityReader(
        encoder.spec,
        lambda u: len(str(u.text)) if has_text(u) else None,
        lambda us: words.encode(
            [augmentation.words(u) for u in us], [before.get(augmentation.origin(u), ()) for u in us]
        ),
    )


def embed_labels(labels: Labels, encoder: Any) -> Array | None:
    """Return the mean token embedding of each label's description (C, D) float32; None without a text encoder."""
    if encoder is None:
        return None
    if isinstance(encoder, Precomputed):
        print("features-text: precomputed, so label descriptions have no embedding: label embeddings start at random")
        return None
    tokens = encoder.encode([item.description for item in labels.items])
    return np.stack([values.mean(axis=0) for values in tokens]).astype(np.float32)


def remove_all_but(folder: Path, wanted: set[Path]) -> None:
    """Remove what earlier encoders or manifests left in scratch, so that it does not grow."""
    for path in folder.glob("*"):
        if path not in wanted:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def naming_full_disk(folder: Path) -> Iterator[None]:
    """Add the folder's name to the error for a full disk, which often has none."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, error.strerror, str(folder)) from error
        raise


def _given(encoder: AudioEncoder | TextEncoder | Precomputed | None) -> AudioEncoder | TextEncoder | Precomputed:
    if encoder is None:
        raise ValueError("a modality without an encoder has nothing to summarise")
    return encoder


def _extraction(
    name: str,
    source: ModalityReader,
    parts: dict[Split, list[Utterance]],
    batch_size: int,
    manifest_sha256: str,
    scratch: Path,
) -> Extraction:
    plan = plan_batches(parts, source.length, batch_size)
    key = digest([source.spec.fingerprint, manifest_sha256, plan])
    return Extraction(source.spec, source.encode, plan, scratch / f"{name}-{key[:16]}")


def _pieces(shards: list[tuple[list[int], Path]]) -> Iterator[tuple[int, Array]]:
    """Yield (row, frames (T, D)) of every shard."""
    for rows, file in shards:
        with np.load(file, allow_pickle=False) as shard:
            values = np.split(shard["flat"], np.cumsum(shard["lengths"])[:-1])
        yield from zip(rows, values, strict=True)


def check_readable(utterances: Sequence[Utterance], sources: Sequence[ModalityReader]) -> None:
    """Raise LsgmerError for utterances that no source can read: their rows would be empty."""
    bare = [u.id for u in utterances if all(source.length(u) is None for source in sources)]
    if bare:
        raise LsgmerError(
            f"{len(bare)} utterances have nothing that the encoders of `features` read, such as {bare[:3]}; "
            "give features.audio or features.text an encoder for them, or take these rows out of the corpus"
        )


def main() -> None:
    """Run the stage in the current folder."""
    run_stage("features", run, Needs)


if __name__ == "__main__":
    main()
