"""Stage `features`: encodes every utterance, resumably, into one memory-mapped feature store per split."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from lsgmer.core.cluster import ExtractionRuntime
from lsgmer.core.device import choose_device, set_threads
from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace
from lsgmer.core.records import MODALITIES, SPLITS, Labels, Modality, Split, digest
from lsgmer.core.sections import CorpusFolder, Part, Sections
from lsgmer.core.stage import run_stage
from lsgmer.core.workers import connected
from lsgmer.encoders.build import Precomputed, TextEncoder
from lsgmer.encoders.params import FeaturesParams, FinetuneParams, FinetunePart
from lsgmer.features.automatic import AutomaticWords, transcribe_missing
from lsgmer.features.dialogues import has_text
from lsgmer.features.extraction import Extraction, Parts, extract, naming_full_disk
from lsgmer.features.links import link_encoders
from lsgmer.features.normalise import Level, RunningLevel, levels_of
from lsgmer.features.on_cluster import publish
from lsgmer.features.plan import MOST, plan_batches
from lsgmer.features.readers import SUMMARY, Encoder, Encoders, ModalityReader, Readings
from lsgmer.features.store import Frames, Levels, write_split
from lsgmer.manifests.utterance import Utterance
from lsgmer.manifests.validated import ValidatedManifest

Array = np.ndarray[Any, Any]
TRANSCRIPTS = "transcripts"  # folder in scratch


class Needs(Sections):
    """What the stage reads of params.yaml."""

    runtime: Part[ExtractionRuntime]
    corpus: Part[CorpusFolder]
    features: FeaturesParams
    train: Part[FinetunePart]


def run(workspace: Workspace, params: Needs) -> None:
    """Encode the validated manifest into data/features/{train,valid,test}.

    Finished batches are kept in .lsgmer/scratch/features, keyed by encoder, manifest and batch plan, so a stage
    that was killed resumes where it stopped and writes the same bytes, however many processes encode. Raises
    LsgmerError for bad input and OSError, naming the folder, for a full disk.
    """
    set_threads(params.runtime.threads)
    link_encoders(workspace, params.features)
    manifest = ValidatedManifest.load(workspace.data("validate"))
    scratch = workspace.scratch / "features"
    words = find_words(manifest, params, workspace, scratch / TRANSCRIPTS)
    manifest = replace(manifest, utterances=words.utterances)
    clean: Parts = {s: [u for u in manifest.utterances if u.split == s] for s in SPLITS}
    corpus, device = workspace.root / params.corpus.path, str(choose_device(params.runtime.device))
    readings = Readings(params.features, params.train.finetune, workspace.root, corpus, device, manifest)
    augmentation = readings.augmentation()
    parts: Parts = {**clean, "train": [*clean["train"], *augmentation.copies]}
    encoders, frozen = readings.encoders()
    announce_precomputed(encoders, manifest.utterances)
    readers = readings.readers((encoders, frozen), augmentation)
    check_readable(manifest.utterances, [readers[m] for m in MODALITIES if m in readers])
    mode = params.features.normalise if "audio" in readers else "none"
    check_normalise(mode, params.train.finetune, manifest.utterances)

    made_of = [part for part in (params.features.augment, words.key) if part]
    key = digest([manifest.sha256, *made_of]) if made_of else manifest.sha256
    work = {name: _extraction(name, readers[name], parts, params.features.batch_size, key, scratch) for name in readers}
    remove_all_but(scratch, {scratch / TRANSCRIPTS, *(part.folder for part in work.values())})
    threads = params.runtime.threads
    with connected(params.runtime, workspace.scratch) as cluster:
        if cluster:
            publish(cluster, readings, workspace.data("validate"), threads)
        extract(list(work.values()), parts, readings, readers, threads, cluster)
    label_text = embed_labels(manifest.labels, frozen["text"])
    training = training_level(work["audio"].frames("train", len(parts["train"]))) if mode != "none" else None
    cut = texts_cut(clean, encoders["text"], params.features.text.max_tokens)
    for split, utterances in parts.items():
        folder = workspace.data("features") / split
        frames = {m: work[m].frames(split, len(utterances)) for m in MODALITIES if m in work}
        summed = {m: work[m + SUMMARY].frames(split, len(utterances)) for m in MODALITIES if m + SUMMARY in work}
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


def announce_precomputed(encoders: Encoders, utterances: Sequence[Utterance]) -> None:
    """Print for how many utterances there are precomputed features. Raises LsgmerError if for none."""
    for modality, encoder in encoders.items():
        if isinstance(encoder, Precomputed):
            found, unused = encoder.matches([u.id for u in utterances])
            missing = len(utterances) - found
            print(f"features-{modality}: precomputed for {found} utterances, none for {missing}; {unused} ids unused")


def texts_cut(parts: Parts, encoder: Encoder | None, most: int) -> dict[Split, int]:
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


def _extraction(
    name: str, reader: ModalityReader, parts: Parts, batch_size: int, manifest_sha256: str, scratch: Path
) -> Extraction:
    modality: Modality = "text" if name.startswith("text") else "audio"
    plan = plan_batches(parts, reader.lengths, batch_size, MOST[modality], reader.input)
    return Extraction.of(name, reader.spec, plan, manifest_sha256, scratch)


def check_readable(utterances: Sequence[Utterance], readers: Sequence[ModalityReader]) -> None:
    """Raise LsgmerError for utterances that no encoder can read: their rows would be empty."""
    bare = [u.id for u in utterances if not any(reader.has(u) for reader in readers)]
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
