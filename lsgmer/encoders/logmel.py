"""Log-mel + prosody frames: the audio encoder that needs no weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torchaudio
from torch import Tensor
from torch.nn import functional as F

from lsgmer.audio import Waveform, resample
from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import EncoderSpec
from lsgmer.core.source import library_versions
from lsgmer.encoders.prosody import frame_energy, slope, track_pitch

SAMPLE_RATE = 16_000
WINDOW = 400  # 25 ms
FFT = 512
FLOOR = 1e-8  # mel power that counts as silence
PITCH_CENTRE_HZ = 150.0
PROSODY = ("pitch_octaves", "voicing", "energy", "pitch_slope", "energy_slope")


class LogMel:
    """Frames of `n_mels` log-mel values and the five of `PROSODY`, one every `hop_ms`; D = n_mels + 5.

    Scales are fixed, not fitted, so that loudness and register survive and no utterance depends on another:
    log-mel and energy are (log10(power) + 4) / 4; pitch is octaves above 150 Hz, 0 where unvoiced, with the
    voicing strength as its own value; slopes are per 100 ms.
    """

    def __init__(self, n_mels: int, hop_ms: float) -> None:
        self._hop = round(hop_ms * SAMPLE_RATE / 1000)
        self.hop_ms = 1000 * self._hop / SAMPLE_RATE
        if self._hop < 1:
            raise LsgmerError(f"features.audio.hop_ms: {hop_ms} ms is less than one sample at {SAMPLE_RATE} Hz")
        self._mel = torchaudio.transforms.MelSpectrogram(
            SAMPLE_RATE, n_fft=FFT, win_length=WINDOW, hop_length=self._hop, n_mels=n_mels, center=False, f_min=40.0
        )
        self.spec = EncoderSpec(
            modality="audio",
            kind="logmel",
            dimension=n_mels + len(PROSODY),
            sample_rate=SAMPLE_RATE,
            settings={"n_mels": n_mels, "hop_ms": hop_ms, "prosody": list(PROSODY), "scale": "lsgmer-logmel/1"},
            versions=library_versions(("torch", "torchaudio", "soundfile")),
        )

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[Waveform]) -> list[np.ndarray[Any, Any]]:
        """Return frames (T, D) float32 of each waveform, T = 1 + samples at 16 kHz // hop.

        Waveforms are encoded one by one, so none is padded. Raises LsgmerError for a waveform without samples.
        """
        return [self._frames(wave) for wave in waveforms]

    def encode_together(self, waveforms: Sequence[Waveform]) -> list[np.ndarray[Any, Any]]:
        """Return what `encode` does: there is no model that would gain from a batch."""
        return self.encode(waveforms)

    def _frames(self, wave: Waveform) -> np.ndarray[Any, Any]:
        if not len(wave.samples):
            raise LsgmerError("an empty waveform has no frames to encode")
        samples = torch.tensor(resample(wave, SAMPLE_RATE).samples, dtype=torch.float32)
        count = 1 + len(samples) // self._hop
        mel = self._mel(F.pad(samples, (FFT // 2, FFT)))[:, :count].T
        return torch.cat([_scale(mel), self._prosody(samples)], dim=1).numpy()

    def _prosody(self, samples: Tensor) -> Tensor:
        """Return (T, 5), columns as in `PROSODY`."""
        pitch, voicing = track_pitch(samples, SAMPLE_RATE, self._hop)
        octaves = torch.where(pitch > 0, (pitch.clamp(min=1) / PITCH_CENTRE_HZ).log2(), 0)
        energy = _scale(frame_energy(samples, WINDOW, self._hop).square())
        frames_per_100_ms = 0.1 * SAMPLE_RATE / self._hop
        # A slope across the edge of a voiced stretch would be the jump to 0, not a movement of the voice.
        inside = F.pad(pitch, (2, 2)).unfold(0, 5, 1).amin(dim=1) > 0
        pitch_slope = torch.where(inside, slope(octaves), 0) * frames_per_100_ms
        return torch.stack([octaves, voicing, energy, pitch_slope, slope(energy) * frames_per_100_ms], dim=1)


def _scale(power: Tensor) -> Tensor:
    """Return (log10(power) + 4) / 4, floored: -1 for silence, about 1 for loud speech."""
    return (power.clamp(min=FLOOR).log10() + 4) / 4
