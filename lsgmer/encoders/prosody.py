"""Pitch, voicing and energy of speech, frame by frame, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0
WINDOW_S = 0.03
SAME_PEAK = 0.85  # a peak this close to the best one is as good; the shortest lag wins
VOICED = 0.5  # normalised autocorrelation above which a frame counts as voiced
SILENCE = 1e-3  # frame RMS (-60 dBFS) at or below which nothing counts as voiced
MEDIAN = 5  # frames


def track_pitch(samples: Tensor, sample_rate: int, hop: int) -> tuple[Tensor, Tensor]:
    """Return F0 in Hz (T,), 0 where unvoiced, and voicing strength (T,) in [0, 1]; T = 1 + N // hop.

    The normalised cross-correlation of Talkin's RAPT (1995): with s the frame that starts half a window
    before t, phi(k) = sum_n s[n] s[n+k] / sqrt(e[0] e[k]) over one window, e[k] = sum_n s[n+k]^2. The
    period is the shortest lag whose local maximum reaches 85% of the best (which keeps octave errors down),
    refined by a parabola; a median over 5 frames removes single outliers. samples (N,) float32.
    """
    shortest, longest = int(sample_rate / HIGHEST_HZ), int(sample_rate / LOWEST_HZ) + 1
    window = int(WINDOW_S * sample_rate)
    span = window + longest + 1
    frames = F.pad(samples, (window // 2, span)).unfold(0, span, hop)[: 1 + len(samples) // hop]
    phi = _normalised_correlation(frames, window, longest + 1)
    lag, strength = _best_lag(phi, shortest, longest)
    loud = frames[:, :window].square().mean(dim=1).sqrt() > SILENCE
    strength = torch.where(loud, strength.clamp(0, 1), 0)
    return _median(sample_rate / lag, strength > VOICED), strength


def frame_energy(samples: Tensor, window: int, hop: int) -> Tensor:
    """Return the RMS of each frame (T,), centred at multiples of `hop`; T = 1 + N // hop."""
    padded = F.pad(samples, (window // 2, window))
    return padded.unfold(0, window, hop)[: 1 + len(samples) // hop].square().mean(dim=1).sqrt()


def slope(values: Tensor, reach: int = 2) -> Tensor:
    """Return the regression slope per frame (T,) over `reach` frames on either side; edges are repeated."""
    steps = torch.arange(-reach, reach + 1, dtype=values.dtype)
    padded = F.pad(values[None, None], (reach, reach), mode="replicate")[0, 0]
    return padded.unfold(0, 2 * reach + 1, 1) @ (steps / steps.square().sum())


def _normalised_correlation(frames: Tensor, window: int, lags: int) -> Tensor:
    """Return phi (T, lags) of frames (T, window + lags)."""
    size = 1 << (frames.shape[1] - 1).bit_length()
    head = torch.fft.rfft(frames[:, :window], n=size)
    products = torch.fft.irfft(head.conj() * torch.fft.rfft(frames, n=size), n=size)[:, :lags]
    energy = F.pad(frames.double().square().cumsum(dim=1), (1, 0))
    energy = (energy[:, window : window + lags] - energy[:, :lags]).float().clamp(min=0)
    phi: Tensor = products / (energy[:, :1] * energy + 1e-12).sqrt()
    return phi


def _best_lag(phi: Tensor, shortest: int, longest: int) -> tuple[Tensor, Tensor]:
    """Return the period in fractional samples (T,), and phi there (T,)."""
    inner = phi[:, shortest:longest]
    before, after = phi[:, shortest - 1 : longest - 1], phi[:, shortest + 1 : longest + 1]
    peak = torch.where((inner >= before) & (inner > after), inner, 0)
    best = peak.amax(dim=1, keepdim=True)
    index = ((peak >= SAME_PEAK * best) & (peak > 0)).int().argmax(dim=1, keepdim=True)
    left, middle, right = (part.gather(1, index)[:, 0] for part in (before, inner, after))
    bend = left - 2 * middle + right
    shift = torch.where(bend < 0, 0.5 * (left - right) / bend.clamp(max=-1e-9), 0).clamp(-0.5, 0.5)
    return shortest + index[:, 0] + shift, best[:, 0].minimum(middle)


def _median(frequency: Tensor, voiced: Tensor) -> Tensor:
    """Return the median of the voiced neighbours (T,), 0 where a frame is not voiced."""
    half = MEDIAN // 2
    marked = F.pad(torch.where(voiced, frequency, float("nan")), (half, half), value=float("nan"))
    return torch.where(voiced, marked.unfold(0, MEDIAN, 1).nanmedian(dim=1).values, 0)
