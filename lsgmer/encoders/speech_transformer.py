"""HuBERT, WavLM and wav2vec 2.0 as frozen frame encoders, through transformers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoFeatureExtractor

from lsgmer.audio import Waveform, resample
from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import EncoderSpec
from lsgmer.core.source import library_versions
from lsgmer.encoders.learning import Below
from lsgmer.encoders.params import AudioEncoderParams
from lsgmer.encoders.transformer import load_transformer
from lsgmer.encoders.weights import EncoderFiles

# Their layers were compared, padded and alone (tests/encoders/test_speech_transformer.py).
MASKED = ("hubert", "wav2vec2")


class SpeechTransformer:
    """Frames (T, D) of a speech transformer's chosen layer; its feature extractor's settings are honoured.

    `encode` reads utterances one at a time, without padding or mask. `encode_together` does so for the convolutions
    alone, because padding would change what they give where the first one is normalised over time (HuBERT base,
    wav2vec 2.0 base); the layers above read all utterances at once, padded and masked, which changes values by less
    than 1e-5. `padded` is False for an architecture of which this is not known, and for several `layers`: these are
    read one at a time.

    With `below`, what the layers that learn read is returned instead: the outputs of the convolutions, or a lower
    layer's frames (see `learning`).
    """

    def __init__(
        self, params: AudioEncoderParams, files: EncoderFiles, device: str = "cpu", below: Below | None = None
    ) -> None:
        self._device, self._below, self._layers = device, below, params.layers or ()
        if below is not None and params.layers:
            raise LsgmerError("features.audio.layers and train.finetune.audio exclude each other: leave layers out")
        top = max(self._layers) if self._layers else params.layer
        try:
            self._extractor = AutoFeatureExtractor.from_pretrained(files.folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise LsgmerError(
                f"{files.folder}: no readable preprocessor_config.json or processor_config.json: {error}"
            ) from error
        self._model = load_transformer(files, below if isinstance(below, int) else top, device)
        config = self._model.config
        if not hasattr(config, "conv_kernel"):
            raise LsgmerError(f"{files.folder}: {config.model_type} is not a speech encoder of raw waveforms")
        self._shortest = _receptive_field(config.conv_kernel, config.conv_stride)
        self.hop_ms = 1000 * math.prod(config.conv_stride) / self._extractor.sampling_rate
        whole = not self._layers and getattr(self._model, "adapter", None) is None
        self.padded = whole and config.model_type in MASKED
        self.spec = EncoderSpec(
            modality="audio",
            kind="transformers",
            source=params.source,
            revision=params.revision,
            layer=params.layer,
            dimension=config.conv_dim[-1]
            if below == "convolutions"
            else config.hidden_size * max(1, len(self._layers)),
            sample_rate=self._extractor.sampling_rate,
            settings={
                "model_type": config.model_type,
                "do_normalize": bool(self._extractor.do_normalize),
                "device": device,
                "files": files.settings,
                **({} if below is None else {"below": below}),
                **({"layers": list(self._layers)} if self._layers else {}),
                **({"mix": True} if params.mix else {}),
            },
            weights_sha256=files.weights_sha256,
            versions=library_versions(("torch", "torchaudio", "transformers", "numpy", "soundfile")),
        )

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[Waveform]) -> list[np.ndarray[Any, Any]]:
        """Return frames (T, D) float32 of each waveform: T depends on its own samples alone.

        A clip shorter than one frame (25 ms) is padded with silence to one. Raises LsgmerError for a
        waveform without samples.
        """
        return [self._frames(wave) for wave in waveforms]

    @torch.inference_mode()
    def encode_together(self, waveforms: Sequence[Waveform]) -> list[np.ndarray[Any, Any]]:
        """Return what `encode` does, within 1e-5, faster: above the convolutions, all are read at once, padded."""
        if not self.padded or self._below == "convolutions" or len(waveforms) == 1:
            return self.encode(waveforms)
        found = [self._model.feature_extractor(self._values(wave))[0].T for wave in waveforms]
        lengths = torch.tensor([len(frames) for frames in found], device=self._device)
        features = pad_sequence(found, batch_first=True)
        is_frame = torch.arange(features.shape[1], device=self._device)[None] < lengths[:, None]
        projected = self._model.feature_projection(features)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        mask = None if bool(is_frame.all()) else is_frame
        frames = self._chosen(self._model.encoder(hidden, attention_mask=mask, **self._wanted()))
        return [_stored(frames[i, : len(part)]) for i, part in enumerate(found)]

    def _frames(self, wave: Waveform) -> np.ndarray[Any, Any]:
        values = self._values(wave)
        if self._below == "convolutions":
            return _stored(self._model.feature_extractor(values)[0].T)
        return _stored(self._chosen(self._model(values, **self._wanted()))[0])

    def _values(self, wave: Waveform) -> Tensor:
        """Return the model's input (1, samples): resampled, normalised, and at least one frame long."""
        if not len(wave.samples):
            raise LsgmerError("an empty waveform has no frames to encode")
        rate = self._extractor.sampling_rate
        samples = np.asarray(resample(wave, rate).samples, dtype=np.float32)
        inputs = self._extractor(samples, sampling_rate=rate, return_tensors="np")["input_values"][0]
        if len(inputs) < self._shortest:
            inputs = np.pad(inputs, (0, self._shortest - len(inputs)))
        return torch.tensor(inputs, dtype=torch.float32, device=self._device)[None]

    def _wanted(self) -> dict[str, Any]:
        return {"output_hidden_states": bool(self._layers)}

    def _chosen(self, output: Any) -> Tensor:
        """Return the chosen layers side by side, (B, T, D)."""
        states = [output.hidden_states[i] for i in self._layers] or [output.last_hidden_state]
        return torch.cat(states, dim=-1)


def _stored(frames: Tensor) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(frames.cpu().numpy(), dtype=np.float32)


def _receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Return how many samples the convolutions need for one frame (400, or 25 ms, for all usual models)."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples
