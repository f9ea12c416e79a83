"""Encoders as people have them: imported, trained, packaged, served; replaced in place, everybody notices."""

from __future__ import annotations

import json

import pytest

from lsgmer.commands.import_encoder import import_encoder
from lsgmer.core.paths import Workspace
from lsgmer.registry.audit import audit
from lsgmer.registry.champions import read as champion_of
from tests.support.project import GOLDEN, make_project
from tests.support.tiny import save_pickled, save_processor, save_speech

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]


def test_imported_encoders_are_served_and_a_replaced_one_is_noticed(golden, tmp_path):
    folders = {
        "hubert": save_pickled(tmp_path / "hubert"),
        "wav2vec2": save_processor(tmp_path / "wav2vec2"),
    }
    project = make_project(
        tmp_path / "project",
        (
            *(item for item in GOLDEN if not item.startswith(("sample.", "train."))),
            "sample.utterances={train: 16, valid: 8, test: 8}",
            "train.epochs=2",
            "features.text={kind: none}",
            "features.audio=[{kind: transformers, source: encoders/hubert, layers: [1, 3]}, "
            "{kind: transformers, source: ../imported, layer: 2}]",
        ),
        like=golden[0],
    )
    import_encoder(str(folders["hubert"]), project.root / "encoders" / "hubert", None)
    import_encoder(str(folders["wav2vec2"]), tmp_path / "imported", None)
    done = project.lsgmer("run")  # the package stage serves the Bento and asks it once
    assert done.code == 0, done.output[-4000:]
    workspace = Workspace(project.root)
    tag = champion_of(workspace).tag
    assert project.run("dvc", "status", "dvc.yaml").output.strip().endswith("up to date.")
    assert not audit(workspace, tag).broken, audit(workspace, tag).to_text()
    report = {link.name: link for link in audit(workspace, tag).links}
    assert report["encoders"].status == "verified"
    clip = next((project.root / "data" / "raw" / "sample" / "audio").glob("test-*.flac"))
    answer = project.lsgmer("predict", str(clip), "--format", "json")
    assert json.loads(answer.output[answer.output.index("[") :])[0]["model_version"] == tag

    save_speech(tmp_path / "other", seed=4)
    weights = project.root / "encoders" / "hubert" / "model.safetensors"
    weights.write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    settings = tmp_path / "imported" / "processor_config.json"
    settings.write_text(settings.read_text().replace('"do_normalize": true', '"do_normalize": false'))
    status = json.loads(project.run("dvc", "status", "dvc.yaml", "--json").output.strip().splitlines()[-1])
    assert status == {"features": [{"changed deps": {"data/encoders": "modified"}}]}
    found = audit(workspace, tag)
    assert found.broken == ("encoders",), found.to_text()
    assert "encoders/hubert: weights in" in found.to_text()
    assert "imported: processor_config.json in" in found.to_text()

    again = project.run("dvc", "repro", "features")
    assert again.code == 0, again.output
    assert "Running stage 'features'" in again.output
    assert not audit(workspace, tag).broken, "a package carries its own encoders"
