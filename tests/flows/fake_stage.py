"""The fake pipeline's stages: `python fake.py NAME` in the workspace."""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from lsgmer.core.costs import recorded
from lsgmer.core.paths import Workspace
from lsgmer.evaluation.records import GateDecision, Metrics, RuleResult
from lsgmer.metrics import Interval, ModelMetrics

ZERO = "0" * 64


def metrics() -> Metrics:
    value = Interval(value=0.8, low=0.7, high=0.9)
    model = ModelMetrics(
        n=10,
        accuracy=value,
        balanced_accuracy=value,
        weighted_f1=value,
        macro_f1=value,
        recall={"angry": 0.8, "sad": None},
        confusion=((8, 2), (2, 8)),
        ece=0.1,
        mean_consistency=0.9,
    )
    difference = {"fused - audio": Interval(value=0.1, low=0.05, high=0.15)}
    return Metrics(
        labels=("angry", "sad"), chance=0.5, n_speakers=2, models={"fused": model}, differences=difference, groups={}
    )


def gate() -> GateDecision:
    verdict = Path("verdict.txt").read_text().strip()
    rule = RuleResult(name="floor", value=0.8, threshold=0.9, verdict=verdict, reason="0.8 against 0.9")
    return GateDecision(verdict=verdict, rules=(rule,), metrics_sha256=ZERO, weights_sha256=ZERO)


def train() -> str:
    knobs = json.loads(Path("knobs.json").read_text())
    Path("train.pid").write_text(str(os.getpid()))
    for i in range(int(float(knobs.get("sleep_s", 0)) * 10)):
        if i % 10 == 0:
            print(f"progress epochs {i}/100 eta 3s", flush=True)
        time.sleep(0.1)
    if knobs.get("exit_code"):
        print(knobs.get("message", "it broke"), file=sys.stderr, flush=True)
        sys.exit(int(knobs["exit_code"]))
    return json.dumps(knobs)


def package() -> str:
    weights = Path("data/train/model.txt").read_bytes()
    sha256 = hashlib.sha256(weights).hexdigest()
    source = Path(".bentoml/bentos/fake") / sha256[:16] / "src"
    card = json.dumps({"weights_sha256": sha256})
    files = {"model/model.safetensors": weights, "model/card.json": card.encode(), "papers/model_card.json": b"{}"}
    for name, content in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    return json.dumps({"tag": f"fake:{sha256[:16]}"})


CONTENT = {
    "make": ("raw.txt", lambda: "raw"),
    "train": ("model.txt", train),
    "evaluate": ("metrics.json", lambda: metrics().to_json()),
    "gate": ("gate.json", lambda: gate().to_json()),
    "package": ("package.json", package),
}
if __name__ == "__main__":
    print(f"{sys.argv[1]} works")
    name, content = CONTENT[sys.argv[1]]
    with recorded(sys.argv[1], Workspace.here()):
        text, folder = content(), Path("data") / sys.argv[1]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
