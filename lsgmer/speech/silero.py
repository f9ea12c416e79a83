"""Silero's voice activity model (MIT), from the weights in its package, over stretches of audio of any length.

https://github.com/snakers4/silero-vad. The package itself is not imported: that would set torch's number of threads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.encoders.weights import package_file

PACKAGED = "package:silero_vad/data/silero_vad_16k.safetensors"
WEIGHTS_SHA256 = "c59271c284ae9c8335d795d60e0bfdb71aaaceec578d9bd9ffc1b8153c319ea1"
SAMPLE_RATE = 16_000
FRAME = 512  # samples, of which each gets a probability
CONTEXT = 64  # samples before a frame that are read with it
BINS, REFLECTED = 129, 64

State = tuple[Tensor, Tensor]  # (1, 1, 128) each


class Silero(nn.Module):
    """Probabilities that somebody speaks, one for each 32 ms, given everything before.

    Frames are seen by the convolutions one by one and joined by the LSTM, so that a long stretch costs one pass, and
    gives what the frames would give one at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * BINS, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(BINS, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm = nn.LSTM(128, 128)
        self.final_conv = nn.Conv1d(128, 1, 1)

    @classmethod
    def load(cls) -> Silero:
        """Return the packaged model. Raises LsgmerError where the package is missing or another version."""
        from safetensors.torch import load_file

        path = package_file(PACKAGED)
        if (found := file_sha256(path)) != WEIGHTS_SHA256:
            raise LsgmerError(f"{path}: sha256 is {found}, expected {WEIGHTS_SHA256}; install silero-vad 6.2.3")
        model = cls()
        weights = load_file(path)
        names = {name: name.replace("lstm_cell.", "lstm.") + ("_l0" if "lstm_cell" in name else "") for name in weights}
        model.load_state_dict({names[name]: values for name, values in weights.items()})
        return model.eval()

    @torch.inference_mode()
    def forward(self, samples: Tensor, before: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Return the probability of each frame (N,), and the state after the last.

        Args:
            samples: (N * 512,) at 16 kHz.
            before: (64,) the samples before them; zeros at the start.
            state: the LSTM's, after the frame before; None at the start.

        """
        frames = torch.cat([before, samples]).unfold(0, FRAME + CONTEXT, FRAME)  # (N, 576)
        padded = functional.pad(frames[:, None], (0, REFLECTED), mode="reflect")
        real, imaginary = self.stft_conv(padded).split(BINS, dim=1)
        found = (real**2 + imaginary**2).sqrt()
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            found = layer(found).relu()
        hidden, state = self.lstm(found.transpose(1, 2), state)  # (N, 1, 128): one sequence of N frames
        return self.final_conv(hidden.transpose(1, 2).relu()).sigmoid()[:, 0, 0], state
