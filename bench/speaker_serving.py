"""What a served model gains from knowing the speaker: nEMO's test speakers, 20 utterances of each enrolled over HTTP.

Run after `lsgmer run --params params/nemo.yaml --set features.normalise=speaker --set package.speakers=50` in the same
workspace, given as the only argument: python bench/speaker_serving.py workspaces/NAME
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np

from lsgmer.core.paths import Workspace
from lsgmer.core.sections import read_yaml
from lsgmer.features.store import FeatureSplit
from lsgmer.inference.outputs import predict_split
from lsgmer.manifests.validated import ValidatedManifest
from lsgmer.metrics import balanced_accuracy
from lsgmer.model import checkpoint
from lsgmer.registry import champions
from lsgmer.registry.trial import serve_command

ENROLLED, PORT = 20, 3911


def main() -> None:
    """Print UA offline, served with enrolled speakers and served without, on the same utterances."""
    workspace = Workspace(Path(sys.argv[1]).resolve())
    test = FeatureSplit.load(workspace.data("features") / "test")
    model, card = checkpoint.load(workspace.data("train"))
    names, corpus = card.labels.names, workspace.root / read_yaml(workspace.params)["corpus"]["path"]
    by_id = {u.id: u for u in ValidatedManifest.load(workspace.data("validate")).utterances}
    champion = champions.read(workspace)
    bento = champions.bento_folder(workspace, champion.tag)
    environment = {**os.environ, "BENTOML_HOME": str(workspace.bentos), "BENTOML_DO_NOT_TRACK": "True"}
    server = subprocess.Popen(serve_command(bento, "127.0.0.1", PORT), env=environment, stdout=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=60, trust_env=False) as client:
            wait(client)
            order = np.random.default_rng(1).permutation(len(test))
            seen: dict[str, int] = {}
            rows, known, unknown = [], [], []
            for row in order.tolist():
                u = by_id[test.ids[row]]
                form = {"audio": (Path(str(u.audio)).name, (corpus / str(u.audio)).read_bytes())}
                words = {"text": u.text or ""}
                seen[u.speaker] = seen.get(u.speaker, 0) + 1
                answer = client.post("/predict", files=form, data={**words, "speaker": u.speaker.strip()})
                if seen[u.speaker] <= ENROLLED:
                    continue
                rows.append(row)
                known.append(names.index(answer.json()["emotion"]))
                alone = client.post("/predict", files=form, data=words).json()
                unknown.append(names.index(alone["emotion"]))
    finally:
        server.terminate()
        server.wait(timeout=30)
    truth = test.labels[rows]
    offline = predict_split(model, test, 64).probabilities[rows].argmax(1)
    print(f"{len(rows)} utterances of {len(seen)} speakers, after {ENROLLED} enrolled of each")
    for name, guess in (("offline", offline), ("served, enrolled", known), ("served, unknown", unknown)):
        print(f"{name:18} UA {balanced_accuracy(truth, np.array(guess)):.3f}")


def wait(client: httpx.Client) -> None:
    """Wait until the server answers."""
    for _ in range(120):
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(1)
    raise SystemExit("the server did not start")


if __name__ == "__main__":
    main()
