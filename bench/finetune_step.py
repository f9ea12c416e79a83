"""Time one fine-tuning step: python -m bench.finetune_step [--size base] [--device cuda] [--precision bf16].

LSGMER with a speech and a text transformer that learn (the shapes of HuBERT-base and RoBERTa-base, random weights), and
a batch of --batch utterances of --seconds of audio and --tokens of text. Prints the medians of --repeats steps and of
square matrix products in the same precision, interleaved, and what share of these products' rate the step reaches.
Floating-point operations are counted by torch.utils.flop_counter; those of the optimiser are not.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import HubertConfig, RobertaConfig

from lsgmer.core.records import LearningSpec, Modality
from lsgmer.core.sections import read_sections
from lsgmer.encoders.learning import rebuild
from lsgmer.features.batch import Batch, ModalityBatch
from lsgmer.model.lsgmer import LSGMER
from lsgmer.model.objective import JointObjective
from lsgmer.training.params import TrainingSections

ROOT = Path(__file__).parents[1]
TINY = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
SIZES: dict[str, dict[str, int]] = {"base": {}, "tiny": TINY}
FRAMES_PER_S = 50  # of HuBERT's convolutions
CONVOLUTIONS = 512
LABELS = 4
PRODUCT = 8192


def build(size: str, params: TrainingSections, device: torch.device) -> LSGMER:
    """Return LSGMER on two transformers of `size` with random weights, all of whose layers learn."""
    parts: dict[Modality, tuple[LearningSpec, torch.nn.Module]] = {}
    speech, words = HubertConfig(**SIZES[size]), RobertaConfig(**SIZES[size])
    for name, config, below in (("audio", speech, "convolutions"), ("text", words, "tokens")):
        content = {**config.to_diff_dict(), "model_type": config.model_type}
        spec = LearningSpec(
            learns="all", below=below, top=config.num_hidden_layers, dimension=config.hidden_size, config=content
        )
        parts[name] = spec, rebuild(spec, name)
    dimensions = {name: spec.dimension for name, (spec, _) in parts.items()}
    model = LSGMER(params.model, LABELS, dimensions, {name: layers for name, (_, layers) in parts.items()})
    return model.to(device).train()


def make_batch(arguments: argparse.Namespace, device: torch.device) -> tuple[Batch, Tensor]:
    """Return a batch of random convolution outputs and token ids, without padding, and its labels."""
    size, frames, tokens = arguments.batch, round(arguments.seconds * FRAMES_PER_S), arguments.tokens
    audio = torch.randn(size, frames, CONVOLUTIONS, device=device)
    ids = torch.randint(10, 1000, (size, tokens), device=device).float()
    text = torch.stack([ids, torch.ones_like(ids)], dim=-1)

    def whole(values: Tensor) -> ModalityBatch:
        return ModalityBatch(values, torch.zeros(values.shape[:2], dtype=torch.bool, device=device))

    return Batch(tuple(map(str, range(size))), whole(audio), whole(text)), torch.randint(
        0, LABELS, (size,), device=device
    )


def seconds_of(action: Callable[[], object], device: torch.device) -> float:
    """Return the wall-clock seconds of `action`, to its end on the device."""
    start = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("no", "bf16"), default="bf16")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--product", type=int, default=PRODUCT, help="side of the square matrices")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    params = read_sections(ROOT / "params.yaml", TrainingSections)
    model = build(arguments.size, params, device)
    objective = JointObjective(params.objective, torch.ones(LABELS)).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    batch, labels = make_batch(arguments, device)
    kind = torch.bfloat16 if arguments.precision == "bf16" else torch.float32
    forward = torch.compile(model) if arguments.compile else model

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast(device.type, kind, enabled=arguments.precision == "bf16"):
            loss = objective(forward(batch), labels).total
        loss.backward()
        optimiser.step()

    matrices = [torch.randn(arguments.product, arguments.product, device=device, dtype=kind) for _ in range(2)]
    with FlopCounterMode(display=False) as counter:
        step()
    work, product_work = counter.get_total_flops(), 2 * arguments.product**3
    torch.mm(*matrices)
    steps, products = [], []
    for _ in range(arguments.repeats):
        steps.append(seconds_of(step, device))
        products.append(seconds_of(lambda: torch.mm(*matrices), device))
    step_s, product_s = statistics.median(steps), statistics.median(products)
    rate, peak = work / step_s / 1e12, product_work / product_s / 1e12
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{card}, load {os.getloadavg()[0]:.1f}, {arguments.precision}")
    print(f"step     {step_s * 1e3:9.1f} ms  {work / 1e12:8.3f} TFLOP  {rate:8.2f} TFLOP/s")
    print(f"product  {product_s * 1e3:9.1f} ms  {product_work / 1e12:8.3f} TFLOP  {peak:8.2f} TFLOP/s")
    print(f"the step reaches {rate / peak:.0%} of the matrix products' rate")


if __name__ == "__main__":
    main()
