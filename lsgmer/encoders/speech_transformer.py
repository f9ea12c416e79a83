"""HuBERT, WavLM and wav2vec 2.0 as frozen frame encoders, through transformers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoFeatureExtractor

from lsgmer.audio import Waveform, resample
from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import EncoderSpec
from lsgmer.core.source import library_versions
from lsgmer.encoders.learning import Below
from lsgmer.encoders.params import AudioEncoderParams
from lsgmer.encoders.transformer import load_transformer
from lsgmer.encoders.weights import EncoderFiles


class SpeechTransformer:
    """Frames (T, D) of a speech transformer's chosen layer; its feature extractor's settings are honoured.

    Utterances are encoded one at a time, without padding or mask, so results are bit-identical alone or in a
    batch. Padding would change the frames of models that take no attention mask: those whose first convolution
    is group-normalised (HuBERT base, wav2vec 2.0 base).

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

    def _frames(self, wave: Waveform) -> np.ndarray[Any, Any]:
        if not len(wave.samples):
            raise LsgmerError("an empty waveform has no frames to encode")
        rate = self._extractor.sampling_rate
        samples = np.asarray(resample(wave, rate).samples, dtype=np.float32)
        inputs = self._extractor(samples, sampling_rate=rate, return_tensors="np")["input_values"][0]
        if len(inputs) < self._shortest:
            inputs = np.pad(inputs, (0, self._shortest - len(inputs)))
        values = torch.tensor(inputs, dtype=torch.float32, device=self._device)[None]
        if self._below == "convolutions":
            frames = self._model.feature_extractor(values)[0].T
        else:
            output = self._model(values, output_hidden_states=bool(self._layers))
            states = [output.hidden_states[i][0] for i in self._layers] or [output.last_hidden_state[0]]
            frames = torch.cat(states, dim=-1)
        return np.ascontiguousarray(frames.cpu().numpy(), dtype=np.float32)


def _receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Return how many samples the convolutions need for one frame (400, or 25 ms, for all usual models)."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples
