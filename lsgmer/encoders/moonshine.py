"""The speech recogniser's encoder inside the moonshine-voice package, as frames: one of its middle layers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lsgmer.audio import Waveform, resample
from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.core.records import EncoderSpec
from lsgmer.core.source import library_versions
from lsgmer.encoders.params import AudioEncoderParams
from lsgmer.encoders.weights import package_file

PACKAGED = "package:moonshine_voice/assets/tiny-en/encoder_model.ort"
WEIGHTS_SHA256 = "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221"
SAMPLE_RATE = 16_000
HOP = 384  # samples
SHORTEST = 896  # samples that give a first frame
DIMENSION, LAYERS, DEFAULT_LAYER = 288, 6, 3
NEEDS = ("onnxruntime", "moonshine_voice")
LAST = "last_hidden_state"


class Moonshine:
    """Frames (T, 288) of the output of `layer` (1 to 6, null: 3) of Moonshine tiny's encoder, one every 24 ms.

    It was trained to transcribe English, so its last layer is about words; a middle one says more about emotion
    (docs/decisions/0015-encoders-side-by-side.md). Utterances are encoded one at a time, because padding would change
    the frames, and in one thread on the CPU, because the order of sums would.
    """

    hop_ms = 1000 * HOP / SAMPLE_RATE

    def __init__(self, params: AudioEncoderParams) -> None:
        layer = DEFAULT_LAYER if params.layer is None else params.layer
        if not 1 <= layer <= LAYERS:
            raise LsgmerError(f"features.audio.layer: {layer}: Moonshine's encoder has layers 1 to {LAYERS}")
        if missing := [name for name in NEEDS if find_spec(name) is None]:
            raise LsgmerError(
                f"features.audio: kind moonshine needs {' and '.join(missing)}: pip install 'lsgmer[moonshine]' "
                "(wheels are for Linux with glibc 2.34, macOS 15 on arm64, and Windows), or choose another kind"
            )
        source, expected = params.source or PACKAGED, params.sha256 or WEIGHTS_SHA256
        path = package_file(source)
        if (found := file_sha256(path)) != expected:
            raise LsgmerError(
                f"{path}: sha256 is {found}, expected {expected}: this is a different encoder. "
                "Install moonshine-voice 0.1.0, or put the new hash into params.yaml if the change is intended"
            )
        self._output = LAST if layer == LAYERS else f"/layers.{layer - 1}/Add_1_output_0"
        self._session = session(path.read_bytes() if layer == LAYERS else _with_output(path, self._output))
        self.spec = EncoderSpec(
            modality="audio",
            kind="moonshine",
            source=source,
            layer=layer,
            dimension=DIMENSION,
            sample_rate=SAMPLE_RATE,
            weights_sha256=expected,
            versions=library_versions(("onnxruntime", "numpy", "torchaudio", "soundfile")),
        )

    def encode(self, waveforms: Sequence[Waveform]) -> list[np.ndarray[Any, Any]]:
        """Return frames (T, 288) float32 of each waveform, T = 1 + (samples at 16 kHz - 895) // 384.

        A clip shorter than 56 ms is padded with silence to one frame. Raises LsgmerError for a waveform without
        samples.
        """
        return [self._frames(wave) for wave in waveforms]

    def encode_together(self, waveforms: Sequence[Waveform]) -> list[np.ndarray[Any, Any]]:
        """Return what `encode` does: its graph takes no mask, so padding would change the frames."""
        return self.encode(waveforms)

    def _frames(self, wave: Waveform) -> np.ndarray[Any, Any]:
        if not len(wave.samples):
            raise LsgmerError("an empty waveform has no frames to encode")
        samples = np.asarray(resample(wave, SAMPLE_RATE).samples, dtype=np.float32)
        samples = np.pad(samples, (0, max(0, SHORTEST - len(samples))))[None]
        inputs = {"input_values": samples, "attention_mask": np.ones(samples.shape, dtype=np.int64)}
        frames: np.ndarray[Any, Any] = self._session.run([self._output], inputs)[0][0]
        return frames


def _options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # The file was optimised when it was made; more of it would depend on the processor.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def session(model: bytes | str, options: Any = None) -> Any:
    """Return an onnxruntime session of `model` (its bytes or a file's path): one thread on the CPU, not optimised."""
    import onnxruntime

    return onnxruntime.InferenceSession(model, options or _options(), providers=["CPUExecutionProvider"])


def _with_output(path: Path, name: str) -> bytes:
    """Return the model in `path` as ONNX, with the value `name` as a further output.

    Only onnxruntime reads its own .ort format, and it can save what it read as ONNX, which is a protobuf message. The
    parts of a repeated message add up, so an output is added by appending it.
    """
    with tempfile.TemporaryDirectory(prefix="lsgmer-moonshine-") as folder:
        options, copy = _options(), Path(folder) / "encoder.onnx"
        options.optimized_model_filepath = str(copy)
        options.add_session_config_entry("session.save_model_format", "ONNX")
        session(str(path), options)
        graph, output, output_name = 7, 12, 1  # field numbers in ModelProto, GraphProto and ValueInfoProto
        return copy.read_bytes() + _field(graph, _field(output, _field(output_name, name.encode())))


def _field(number: int, content: bytes) -> bytes:
    """Return a length-delimited protobuf field; number below 16, content below 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content
