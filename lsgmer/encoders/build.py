"""Encoders: waveform to frames, text to token embeddings. A new kind is one class and one dict entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from lsgmer.audio import Waveform
from lsgmer.core.errors import LsgmerError, PackagingRefused
from lsgmer.core.records import SIDE_BY_SIDE, EncoderSpec, Modality
from lsgmer.encoders.context import Earlier
from lsgmer.encoders.learning import Below, below, demand_layers
from lsgmer.encoders.logmel import LogMel
from lsgmer.encoders.moonshine import Moonshine
from lsgmer.encoders.params import AudioEncoderParams, Learns, TextEncoderParams
from lsgmer.encoders.precomputed import Precomputed, why_not_servable
from lsgmer.encoders.side_by_side import SideBySide
from lsgmer.encoders.speech_lstm import SpeechLstm
from lsgmer.encoders.speech_transformer import SpeechTransformer
from lsgmer.encoders.text_transformer import TextTransformer
from lsgmer.encoders.weights import EncoderFiles, copy_files, find_files, is_packed

__all__ = [
    "AudioEncoder",
    "Precomputed",
    "TextEncoder",
    "build_audio",
    "build_precomputed",
    "build_text",
    "load_encoder",
    "pack_encoder",
]


class AudioEncoder(Protocol):
    """Turns speech into frames.

    A waveform gives the same frames alone as in a batch, within 1e-5; the same batch gives the same bits.
    """

    @property
    def spec(self) -> EncoderSpec:
        """What made the frames."""
        ...

    @property
    def hop_ms(self) -> float:
        """The time from one frame to the next, in milliseconds."""
        ...

    def encode(self, waveforms: Sequence[Waveform]) -> list[np.ndarray[Any, Any]]:
        """Return frames (T, D) float32 of each waveform, of any sample rate, read one at a time."""
        ...

    def encode_together(self, waveforms: Sequence[Waveform]) -> list[np.ndarray[Any, Any]]:
        """Return what `encode` does, within 1e-5, as fast as it can. What must not be padded is read one at a time."""
        ...


class TextEncoder(Protocol):
    """Turns text into token embeddings.

    A text and its context give the same tokens alone as in a batch, within 1e-5; the same batch gives the same bits.
    """

    @property
    def spec(self) -> EncoderSpec:
        """What made the embeddings."""
        ...

    def encode(
        self, texts: Sequence[str], before: Sequence[Sequence[Earlier]] | None = None
    ) -> list[np.ndarray[Any, Any]]:
        """Return token embeddings (T, D) float32 of each text, read after the utterances `before` it, if any."""
        ...

    def encode_together(
        self, texts: Sequence[str], before: Sequence[Sequence[Earlier]] | None = None
    ) -> list[np.ndarray[Any, Any]]:
        """Return what `encode` does, within 1e-5, as fast as it can."""
        ...

    def lengths(self, texts: Sequence[str], before: Sequence[Sequence[Earlier]] | None = None) -> list[int]:
        """Return how many tokens are read for each text, those of its context included."""
        ...

    def context_read(self, text: str, before: Sequence[Earlier]) -> int:
        """Return how many utterances of `before` are read with `text`."""
        ...

    def tokens_left_out(self, text: str) -> int:
        """Return how many tokens at the end of `text` are not read, because it is too long."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where an encoder's files are looked for, the device it runs on, and at which layer its output is taken.

    That is below the layers that should learn (`learns`, from params), or at `below` (from a card).
    """

    root: Path
    device: str = "cpu"
    packed: Path | None = None
    learns: Learns = "none"
    below: Below | None = None

    def stored(self, files: EncoderFiles, modality: Modality, layer: int | None) -> Below | None:
        """Return what the encoder should put out: see `learning.below`."""
        return self.below if self.learns == "none" else below(self.learns, modality, files, layer)


def _logmel(params: AudioEncoderParams, place: Place) -> AudioEncoder:
    return LogMel(params.n_mels, params.hop_ms)


def _speech(params: AudioEncoderParams, place: Place) -> AudioEncoder:
    files = find_files(params.source, params.revision, params.sha256, place.root, place.packed)
    return SpeechTransformer(params, files, place.device, place.stored(files, "audio", params.layer))


def _speech_lstm(params: AudioEncoderParams, place: Place) -> AudioEncoder:
    return SpeechLstm(params, place.device)


def _moonshine(params: AudioEncoderParams, place: Place) -> AudioEncoder:
    return Moonshine(params)


def _text(params: TextEncoderParams, place: Place) -> TextEncoder:
    files = find_files(params.source, params.revision, params.sha256, place.root, place.packed)
    return TextTransformer(params, files, place.device, place.stored(files, "text", params.layer))


AUDIO_ENCODERS: dict[str, Callable[[AudioEncoderParams, Place], AudioEncoder]] = {
    "logmel": _logmel,
    "moonshine": _moonshine,
    "speech_lstm": _speech_lstm,
    "transformers": _speech,
}
TEXT_ENCODERS: dict[str, Callable[[TextEncoderParams, Place], TextEncoder]] = {"transformers": _text}


def build_audio(
    params: AudioEncoderParams | tuple[AudioEncoderParams, ...],
    root: Path,
    device: str = "cpu",
    learns: Learns = "none",
) -> AudioEncoder | None:
    """Return the audio encoder, or None for kind none; folders are relative to `root`.

    Several encoders become one that runs them side by side. If some layers of a single one should learn (`learns`), it
    puts out what lies below them: see `learning`. Raises LsgmerError when parameters or files are unusable.
    """
    if isinstance(params, tuple):
        demand_layers("audio", SIDE_BY_SIDE, learns)
        return SideBySide([AUDIO_ENCODERS[part.kind](part, Place(root, device)) for part in params])
    if params.kind == "none":
        return None
    demand_layers("audio", params.kind, learns)
    return AUDIO_ENCODERS[params.kind](params, Place(root, device, learns=learns))


def build_text(
    params: TextEncoderParams, root: Path, device: str = "cpu", learns: Learns = "none"
) -> TextEncoder | None:
    """Return the text encoder, or None for kind none; folders are relative to `root`.

    If some of its layers should learn (`learns`), it puts out what lies below them: see `learning`.
    Raises LsgmerError when its parameters or files are unusable.
    """
    if params.kind == "none":
        return None
    demand_layers("text", params.kind, learns)
    return TEXT_ENCODERS[params.kind](params, Place(root, device, learns=learns))


def build_precomputed(modality: Modality, params: AudioEncoderParams | TextEncoderParams, corpus: Path) -> Precomputed:
    """Return the features in `params.source`, a file in the folder `corpus`. Raises LsgmerError if it is unusable."""
    if params.source is None:
        raise LsgmerError(
            f"features.{modality}: kind precomputed needs a source: a .parquet or .npz file in corpus.path"
        )
    return Precomputed(modality, corpus / params.source, params.source)


def load_encoder(
    spec: EncoderSpec, folder: Path | None = None, root: Path | None = None, device: str = "cpu"
) -> AudioEncoder | TextEncoder:
    """Rebuild the encoder that `spec`, from a card, describes.

    Args:
        spec: what made the features. Weights and settings files must match its hashes; library versions and
            device may differ: compare `fingerprint`s to see whether they do.
        folder: packed files (see `pack_encoder`), used instead of a folder or hub source if the folder exists;
            of encoders side by side, those of the first are in `folder`/0, and so on.
        root: what a folder source is relative to; None is the current folder.
        device: where the encoder runs: "cpu" or "cuda".

    Returns:
        An encoder of `spec.modality`, ready to encode.

    Raises:
        LsgmerError: the features were precomputed, or files are missing or are not the ones `spec` describes.

    """
    if spec.kind == "precomputed":
        raise LsgmerError(why_not_servable(spec))
    if spec.kind == SIDE_BY_SIDE:
        found = [load_encoder(part, folder and folder / str(i), root, device) for i, part in enumerate(spec.parts)]
        together = SideBySide([cast(AudioEncoder, part) for part in found])
        _check_same(together.spec, spec)
        return together
    content: dict[str, Any] = {
        "kind": spec.kind,
        "source": spec.source,
        "revision": spec.revision,
        "layer": spec.layer,
        "sha256": spec.weights_sha256,
    }
    known = ("n_mels", "hop_ms", "max_tokens", "context", "mix")
    content |= {key: spec.settings[key] for key in known if key in spec.settings}
    if spec.settings.get("context"):
        content["marks"] = spec.settings.get("marks", False)  # cards from before there were marks
    if layers := spec.settings.get("layers"):
        content["layers"] = tuple(layers)
    if spec.kind == "speech_lstm":
        content["prosody"] = spec.settings["prosody"] is not None
        content["level_dbfs"] = spec.settings["level_dbfs"]
    place = Place(root or Path.cwd(), device, folder, below=spec.settings.get("below"))
    encoder: AudioEncoder | TextEncoder
    if spec.modality == "audio" and spec.kind in AUDIO_ENCODERS:
        audio = AudioEncoderParams.model_validate(content)
        encoder = AUDIO_ENCODERS[spec.kind](audio, place)
    elif spec.modality == "text" and spec.kind in TEXT_ENCODERS:
        text = TextEncoderParams.model_validate(content)
        encoder = TEXT_ENCODERS[spec.kind](text, place)
    else:
        raise LsgmerError(f"the card asks for a {spec.modality} encoder of kind {spec.kind!r}, which does not exist")
    _check_same(encoder.spec, spec)
    return encoder


def pack_encoder(spec: EncoderSpec, destination: Path, root: Path | None = None) -> None:
    """Copy the files of a folder or hub encoder to `destination`; do nothing for the kinds that need no files.

    Those are logmel and sources inside an installed package. Of encoders side by side, the files of each go to the
    folder of its number, from 0. Raises PackagingRefused for precomputed features: a package cannot carry what made
    them.
    """
    if spec.kind == SIDE_BY_SIDE:
        for i, part in enumerate(spec.parts):
            pack_encoder(part, destination / str(i), root)
        return
    if spec.kind == "precomputed":
        raise PackagingRefused(why_not_servable(spec))
    if spec.kind != "transformers" or not is_packed(spec.source):
        return
    files = find_files(spec.source, spec.revision, spec.weights_sha256, root or Path.cwd())
    if wrong := files.differences(spec):
        raise PackagingRefused(
            f"{files.folder}: {', '.join(wrong)} changed since the features were extracted; restore them, or run "
            "`lsgmer run`, which extracts the features and trains again"
        )
    copy_files(files, destination)


def _check_same(found: EncoderSpec, expected: EncoderSpec) -> None:
    """Raise LsgmerError, naming the field, if two specs differ in more than versions and device."""
    for name in EncoderSpec.model_fields:
        ours, theirs = getattr(found, name), getattr(expected, name)
        if name == "settings":  # the parts of encoders side by side were compared when each was loaded
            unmarked = {"marks": False} if "context" in theirs else {}  # cards from before there were marks
            ours, theirs = ({**s, "device": None, "parts": None} for s in (ours, {**unmarked, **theirs}))
        if name != "versions" and ours != theirs:
            raise LsgmerError(
                f"the {expected.modality} encoder is not the one on the card: {name} is {ours!r}, the card says "
                f"{theirs!r}; restore the encoder's files, or extract the features and train again"
            )
