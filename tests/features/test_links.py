"""data/encoders has a link to each file of each encoder in a folder, so DVC hashes what they point to."""

from __future__ import annotations

from pathlib import Path

from lsgmer.core.hashing import dvc_md5
from lsgmer.core.paths import Workspace
from lsgmer.encoders.params import FeaturesParams
from lsgmer.features.links import link_encoders
from tests.support.tiny import save_roberta, save_speech


def params(audio: object, text: object) -> FeaturesParams:
    return FeaturesParams.model_validate_json(f'{{"audio": {audio}, "text": {text}, "batch_size": 4}}')


def linked(root: Path) -> set[str]:
    top = root / "data" / "encoders"
    return {path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_symlink()}


def test_links_follow_the_parameters_and_see_every_change(tmp_path: Path) -> None:
    root = tmp_path / "project"
    save_speech(root / "models" / "hubert")
    save_roberta(tmp_path / "outside")
    (root / "models" / "hubert" / "README.md").write_text("decides nothing")
    none = '{"kind": "none"}'
    hubert = '{"kind": "transformers", "source": "models/hubert"}'
    text = f'{{"kind": "transformers", "source": "{tmp_path / "outside"}"}}'
    both = params(f'[{{"kind": "logmel"}}, {hubert}]', text)
    link_encoders(Workspace(root), both)
    speech = {f"audio-1/{name}" for name in ("config.json", "model.safetensors", "preprocessor_config.json")}
    assert speech < linked(root)
    assert "text-0/tokenizer.json" in linked(root)
    first = dvc_md5(root / "data" / "encoders")
    link_encoders(Workspace(root), both)
    assert dvc_md5(root / "data" / "encoders") == first

    moved = root.rename(tmp_path / "moved")  # links to what is inside the project move with it
    assert dvc_md5(moved / "data" / "encoders") == first
    weights = moved / "models" / "hubert" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert dvc_md5(moved / "data" / "encoders") != first

    (moved / "models" / "hubert" / "processor_config.json").write_text("{}")
    link_encoders(Workspace(moved), both)
    assert "audio-1/processor_config.json" in linked(moved)
    link_encoders(Workspace(moved), params(hubert, none))
    assert {path.partition("/")[0] for path in linked(moved)} == {"audio-0"}
    link_encoders(Workspace(moved), params('{"kind": "logmel"}', none))
    assert [path.name for path in (moved / "data" / "encoders").iterdir()] == [".gitignore"]
    assert weights.is_file()
