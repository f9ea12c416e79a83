"""The LSTM inside the Resemblyzer package as a frame encoder: a speech model whose weights need no download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchaudio
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lsgmer.audio import Waveform, resample
from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.core.records import EncoderSpec
from lsgmer.core.source import library_versions
from lsgmer.encoders.logmel import LogMel
from lsgmer.encoders.params import AudioEncoderParams
from lsgmer.encoders.weights import package_file

PACKAGED = "package:resemblyzer/pretrained.pt"
WEIGHTS_SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
SAMPLE_RATE = 16_000
WINDOW, HOP = 400, 160  # 25 and 10 ms: what the LSTM was trained on
STEP_MS = 10
MELS, HIDDEN, LAYERS = 40, 256, 3
QUIETEST_DBFS = -30.0


class SpeechLstm(nn.Module):
    """Frames (T, D) of the chosen layers of Resemblyzer's LSTM, averaged over `hop_ms`.

    It was trained for speaker verification, on mel power without a logarithm. D is 256 per layer, in the
    order of `layers`; with `prosody`, the log-mel encoder's frames at the same times follow. Utterances start from a
    zero state, and the LSTM only looks back, so that padding at the end changes nothing before it. Long silences are
    kept; the original removes them with webrtcvad.
    """

    def __init__(self, params: AudioEncoderParams, device: str = "cpu") -> None:
        super().__init__()
        self._device, self._level, self.hop_ms = device, params.level_dbfs, params.hop_ms
        self._layers = params.layers or (LAYERS,)
        if not all(1 <= layer <= LAYERS for layer in self._layers):
            raise LsgmerError(f"features.audio.layers: {list(self._layers)}: the speech LSTM has layers 1 to {LAYERS}")
        if params.hop_ms % STEP_MS:
            raise LsgmerError(f"features.audio.hop_ms: {params.hop_ms} is not a multiple of the LSTM's {STEP_MS} ms")
        self._steps = round(params.hop_ms) // STEP_MS
        source = params.source or PACKAGED
        state = read_weights(package_file(source), params.sha256 or WEIGHTS_SHA256)
        sizes = [MELS, *[HIDDEN] * (max(self._layers) - 1)]  # deeper layers are not computed
        self.lstms = nn.ModuleList(nn.LSTM(size, HIDDEN, batch_first=True) for size in sizes)
        for depth, lstm in enumerate(self.lstms):
            names = {f"{part}_l0": f"lstm.{part}_l{depth}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
            lstm.load_state_dict({ours: state[theirs] for ours, theirs in names.items()})
        self.mel = mel_power()
        self.prosody = LogMel(params.n_mels, params.hop_ms) if params.prosody else None
        self.eval().requires_grad_(False).to(device)
        self.spec = EncoderSpec(
            modality="audio",
            kind="speech_lstm",
            source=source,
            dimension=HIDDEN * len(self._layers) + (self.prosody.spec.dimension if self.prosody else 0),
            sample_rate=SAMPLE_RATE,
            settings={
                "layers": list(self._layers),
                "hop_ms": params.hop_ms,
                "n_mels": params.n_mels,
                "prosody": self.prosody.spec.settings if self.prosody else None,
                "level_dbfs": params.level_dbfs,
                "device": device,
            },
            weights_sha256=params.sha256 or WEIGHTS_SHA256,
            versions=library_versions(("torch", "torchaudio", "soundfile")),
        )

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[Waveform]) -> list[np.ndarray[Any, Any]]:
        """Return frames (T, D) float32 of each waveform, T = 1 + samples at 16 kHz // (16 hop_ms).

        Raises LsgmerError for a waveform without samples.
        """
        return [self._frames(wave) for wave in waveforms]

    @torch.inference_mode()
    def encode_together(self, waveforms: Sequence[Waveform]) -> list[np.ndarray[Any, Any]]:
        """Return what `encode` does, to 1e-5, faster: the LSTM, which looks back only, reads all at once, padded."""
        waves = [self._at_rate(wave) for wave in waveforms]
        steps = [self._mel_steps(wave) for wave in waves]
        states = self._states(pad_sequence(steps, batch_first=True))
        found = [states[i, : len(part)] for i, part in enumerate(steps)]
        return [self._with_prosody(part, wave) for part, wave in zip(found, waves, strict=True)]

    def _frames(self, wave: Waveform) -> np.ndarray[Any, Any]:
        wave = self._at_rate(wave)
        return self._with_prosody(self._states(self._mel_steps(wave)[None])[0], wave)

    def _at_rate(self, wave: Waveform) -> Waveform:
        if not len(wave.samples):
            raise LsgmerError("an empty waveform has no frames to encode")
        return resample(wave, SAMPLE_RATE)

    def _mel_steps(self, wave: Waveform) -> Tensor:
        """Return mel power (steps of 10 ms, 40)."""
        samples = torch.tensor(wave.samples, dtype=torch.float32)
        power: Tensor = self.mel(levelled(samples, self._level).to(self._device))
        return power.T

    def _states(self, steps: Tensor) -> Tensor:
        """Return the chosen layers' outputs side by side, (B, T, D), of steps (B, T, 40)."""
        outputs = []
        for lstm in self.lstms:
            steps, _ = lstm(steps)
            outputs.append(steps)
        chosen: Tensor = torch.cat([outputs[layer - 1] for layer in self._layers], dim=2)
        return chosen

    def _with_prosody(self, states: Tensor, wave: Waveform) -> np.ndarray[Any, Any]:
        frames = mean_over(states, self._steps).cpu().numpy()
        if self.prosody is not None:
            frames = np.concatenate([frames, self.prosody.encode([wave])[0]], axis=1)
        return np.ascontiguousarray(frames, dtype=np.float32)


def mel_power() -> torchaudio.transforms.MelSpectrogram:
    """Return librosa's melspectrogram as the LSTM reads it: samples (N,) to power (40, 1 + N // 160), no logarithm."""
    return torchaudio.transforms.MelSpectrogram(
        SAMPLE_RATE, n_fft=WINDOW, hop_length=HOP, n_mels=MELS, pad_mode="constant", norm="slaney", mel_scale="slaney"
    )


def levelled(samples: Tensor, level_dbfs: float | None) -> Tensor:
    """Scale samples (N,) to a root mean square of `level_dbfs`; silence is left unchanged.

    None does what Resemblyzer does: it raises quieter speech to -30 dBFS. Louder speech then keeps its own level,
    so that mel power without a logarithm varies by powers of ten from one recording to the next.
    """
    rms = float(samples.double().square().mean().sqrt())
    if rms == 0 or (level_dbfs is None and rms >= 10 ** (QUIETEST_DBFS / 20)):
        return samples
    target: float = 10 ** ((QUIETEST_DBFS if level_dbfs is None else level_dbfs) / 20)
    return samples * (target / rms)


def mean_over(values: Tensor, size: int) -> Tensor:
    """Average values (T, D) over groups of `size` steps to (ceil(T / size), D); the last group may be smaller."""
    whole = len(values) // size * size
    groups = [values[:whole].reshape(-1, size, values.shape[1]).mean(1)] if whole else []
    if whole < len(values):
        groups.append(values[whole:].mean(0, keepdim=True))
    return torch.cat(groups)


def read_weights(path: Path, expected_sha256: str) -> dict[str, Tensor]:
    """Return the tensors of Resemblyzer's checkpoint, a pickle: it is read only if its hash is the expected one.

    Raises LsgmerError, naming the file, for any other hash.
    """
    found = file_sha256(path)
    if found != expected_sha256:
        raise LsgmerError(
            f"{path}: sha256 is {found}, expected {expected_sha256}: these are different weights. "
            "Install Resemblyzer 0.1.4 again, or put the new hash into params.yaml if the change is intended"
        )
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    return state
