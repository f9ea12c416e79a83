"""An imported encoder gives the frames of the original; pickles run no code; what is wrong is said in one line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lsgmer.audio import Waveform
from lsgmer.commands.import_encoder import Origin, hub_names, import_encoder, read_pickle
from lsgmer.core.errors import LsgmerError, ParamsError
from lsgmer.core.hashing import file_sha256
from lsgmer.encoders.build import build_audio, build_text
from lsgmer.encoders.params import AudioEncoderParams, TextEncoderParams
from lsgmer.encoders.weights import ORIGIN, find_files
from tests.support.tiny import save_pickled, save_processor, save_roberta, save_speech

WAVE = Waveform(np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32), 16_000)


def frames(folder: Path) -> np.ndarray:
    encoder = build_audio(AudioEncoderParams(kind="transformers", source=str(folder)), folder)
    assert encoder is not None
    return encoder.encode([WAVE])[0]


@pytest.mark.filterwarnings("ignore:Support for mismatched")  # transformers' own WavLM
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(("kind", "stable"), [("hubert", False), ("wavlm", False), ("wav2vec2", True)])
def test_an_older_pickle_gives_the_frames_of_the_original(
    tmp_path: Path, kind: str, stable: bool, shards: int, capsys: pytest.CaptureFixture[str]
) -> None:
    original = save_speech(tmp_path / "original", kind, stable)
    import_encoder(str(save_pickled(tmp_path / "old", shards, kind=kind, stable=stable)), tmp_path / "new", None)
    assert np.array_equal(frames(tmp_path / "new"), frames(original))
    origin = Origin.model_validate_json((tmp_path / "new" / ORIGIN).read_text())
    assert origin.written["model.safetensors"] == file_sha256(tmp_path / "new" / "model.safetensors")
    assert all(origin.read[name] == file_sha256(tmp_path / "old" / name) for name in origin.read)
    assert f"sha256: {origin.written['model.safetensors']}" in capsys.readouterr().out
    assert ORIGIN not in find_files(str(tmp_path / "new"), None, None, tmp_path).settings
    assert {path.name for path in tmp_path.iterdir()} == {"original", "old", "new"}


def test_settings_of_transformers_5_and_text_encoders_are_imported_too(tmp_path: Path) -> None:
    import_encoder(str(save_processor(tmp_path / "speech")), tmp_path / "s", None)
    assert np.array_equal(frames(tmp_path / "s"), frames(tmp_path / "speech"))
    original = save_roberta(tmp_path / "roberta")
    import_encoder(str(original), tmp_path / "t", None)
    params = [TextEncoderParams(kind="transformers", source=str(f), max_tokens=8) for f in (original, tmp_path / "t")]
    one, other = (build_text(p, tmp_path).encode(["we are glad"])[0] for p in params)
    assert np.array_equal(one, other)


def test_tensors_that_share_memory_are_written(tmp_path: Path) -> None:
    folder = save_pickled(tmp_path / "old")
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    first = state["encoder.layers.0.attention.k_proj.weight"]
    torch.save({**state, "tied.weight": first, "part.weight": first[:2].T}, folder / "pytorch_model.bin")
    import_encoder(str(folder), tmp_path / "new", None)
    assert np.array_equal(frames(tmp_path / "new"), frames(save_speech(tmp_path / "original")))


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"a": torch.zeros(2), "b": Evil()}, r"would call posix\.mkdir.*Nothing in it was run"),
        ([torch.zeros(2)], "holds a list, not the named tensors"),
        ({"a": torch.zeros(2), "epoch": 3}, "'epoch' is a int, not a dense tensor"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_what_is_not_weights_is_refused_and_never_run(
    content: object, reason: str, zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(LsgmerError, match=reason):
        read_pickle(Path("pytorch_model.bin"))
    assert not Path("pwned").exists()


def test_a_source_that_cannot_be_imported_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    old = save_pickled(tmp_path / "old")
    whole = (old / "pytorch_model.bin").read_bytes()
    (old / "pytorch_model.bin").write_bytes(whole[:3000])
    with pytest.raises(LsgmerError, match="not readable as PyTorch weights"):
        import_encoder(str(old), tmp_path / "new", None)
    (old / "pytorch_model.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(LsgmerError, match=r"pytorch_model\.bin"):
        import_encoder(str(old), tmp_path / "new", None)
    (old / "pytorch_model.bin").write_bytes(whole)
    with pytest.raises(ParamsError, match="has no revisions"):
        import_encoder(str(old), tmp_path / "new", "main")
    (old / "preprocessor_config.json").unlink()
    with pytest.raises(LsgmerError, match=r"no readable preprocessor_config\.json"):
        import_encoder(str(old), tmp_path / "new", None)
    sharded = save_pickled(tmp_path / "sharded", 2)
    (sharded / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(LsgmerError, match=r"00002-of-00002\.bin: no such file"):
        import_encoder(str(sharded), tmp_path / "new", None)
    index = {"weight_map": {"a": "../old/pytorch_model.bin"}}
    (sharded / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(LsgmerError, match="not the name of a file beside it"):
        import_encoder(str(sharded), tmp_path / "new", None)
    assert {path.name for path in tmp_path.iterdir()} == {"old", "sharded"}
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").touch()
    with pytest.raises(LsgmerError, match="exists and is not empty"):
        import_encoder(str(old), tmp_path / "new", None)


def test_safetensors_are_preferred_and_one_form_is_downloaded() -> None:
    settings = ["config.json", "processor_config.json"]
    other = ["README.md", "tf_model.h5", ".gitattributes", "onnx/model.onnx", "flax_model.msgpack", "code.py"]
    both = ["model.safetensors", "pytorch_model.bin", *settings, *other]
    assert hub_names("x/y", both) == ["model.safetensors", *settings]
    shards = ["pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    assert hub_names("x/y", [*shards, *settings, *other]) == [*shards, *settings]
    with pytest.raises(LsgmerError, match="not an encoder for PyTorch"):
        hub_names("x/y", other)


def test_without_a_network_the_hub_is_named_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
        command = [sys.executable, "-m", "lsgmer.cli", "import-encoder", "facebook/hubert-base-ls960", "new"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"the hub ({endpoint}) cannot be reached: no network?" in line
    assert not (tmp_path / "new").exists()
