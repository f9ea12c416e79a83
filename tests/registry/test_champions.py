"""The pointer moves last, at once and with a log; it can go back; and it notices a changed Bento."""

from __future__ import annotations

import json

import pytest

from lsgmer.core.errors import LsgmerError
from lsgmer.core.paths import Workspace
from lsgmer.registry import champions
from lsgmer.registry.layout import MODEL_CARD, MODEL_WEIGHTS
from lsgmer.registry.model_card import Forced
from tests.support.builders import fake_bento


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    made = Workspace(tmp_path)
    for version in ("a1", "b2", "c3"):
        fake_bento(made, f"lsgmer:{version}", weights=version.encode())
    return made


def tag(workspace: Workspace) -> str | None:
    champion = champions.read(workspace)
    return champion.tag if champion else None


def test_nobody_at_first(workspace):
    assert champions.read(workspace) is None
    assert champions.history(workspace) == ()
    assert champions.bentos(workspace) == ("lsgmer:a1", "lsgmer:b2", "lsgmer:c3")
    with pytest.raises(LsgmerError, match="no champion to go back from"):
        champions.go_back(workspace)


def test_promotions_are_logged_and_the_pointer_names_hashes(workspace):
    champions.promote(workspace, "lsgmer:a1")
    forced = Forced(reason="the test part is too small", by="ada")
    found = champions.promote(workspace, "lsgmer:b2", forced)
    assert champions.read(workspace) == found
    assert found.forced == forced
    moves = champions.history(workspace)
    assert [(move.tag, move.previous, move.forced) for move in moves] == [
        ("lsgmer:a1", None, None),
        ("lsgmer:b2", "lsgmer:a1", forced),
    ]
    assert champions.verified_source(workspace, found).is_dir()


def test_promoting_the_champion_again_changes_nothing(workspace):
    first = champions.promote(workspace, "lsgmer:a1")
    assert champions.promote(workspace, "lsgmer:a1") == first
    assert len(champions.history(workspace)) == 1


def test_going_back_step_by_step_and_by_name(workspace):
    for version in ("a1", "b2", "c3"):
        champions.promote(workspace, f"lsgmer:{version}")
    assert champions.go_back(workspace).tag == "lsgmer:b2"
    assert champions.go_back(workspace).tag == "lsgmer:a1", "not back to c3"
    with pytest.raises(LsgmerError, match="no champion before it"):
        champions.go_back(workspace)
    assert champions.go_back(workspace, "lsgmer:c3").tag == tag(workspace) == "lsgmer:c3"
    assert [move.way for move in champions.history(workspace)] == ["promote"] * 3 + ["back"] * 3


def test_going_back_to_one_that_never_served_is_refused(workspace):
    champions.promote(workspace, "lsgmer:a1")
    with pytest.raises(LsgmerError, match="was never champion"):
        champions.go_back(workspace, "lsgmer:c3")


def test_the_packaged_model_is_the_default(workspace):
    with pytest.raises(LsgmerError, match="names no packaged model"):
        champions.promote(workspace)
    package = workspace.data("package") / "package.json"
    package.parent.mkdir(parents=True)
    package.write_text(json.dumps({"tag": "lsgmer:b2"}))
    assert champions.promote(workspace).tag == "lsgmer:b2"


@pytest.mark.parametrize("name", [MODEL_WEIGHTS, MODEL_CARD])
def test_a_changed_bento_is_noticed(workspace, name):
    champion = champions.promote(workspace, "lsgmer:a1")
    path = champions.bento_source(workspace, "lsgmer:a1") / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(LsgmerError, match=r"sha256 is .*lsgmer champions"):
        champions.verified_source(workspace, champion)
    path.unlink()
    with pytest.raises(LsgmerError, match="no such file"):
        champions.verified_source(workspace, champion)


def test_a_bento_whose_weights_are_not_its_cards_is_not_promoted(workspace):
    champions.promote(workspace, "lsgmer:a1")
    (champions.bento_source(workspace, "lsgmer:b2") / MODEL_WEIGHTS).write_bytes(b"other")
    with pytest.raises(LsgmerError, match="its card says"):
        champions.promote(workspace, "lsgmer:b2")
    assert tag(workspace) == "lsgmer:a1"
    assert len(champions.history(workspace)) == 1, "a refused move leaves no trace"


@pytest.mark.parametrize("name", ["lsgmer", "lsgmer:", ":a1", "../x:a1", "lsgmer:../..", "..:..", "lsgmer:zz"])
def test_a_tag_that_names_no_bento_is_refused(workspace, name):
    with pytest.raises(LsgmerError, match=r"not a tag|no such Bento"):
        champions.promote(workspace, name)


def test_bad_state_files_are_named(workspace):
    champions.promote(workspace, "lsgmer:a1")
    champions.log_path(workspace).write_text('{"tag": 1}\n')
    with pytest.raises(LsgmerError, match=r"promotions\.jsonl, line 1"):
        champions.history(workspace)
    workspace.champion.write_text("{")
    with pytest.raises(LsgmerError, match=r"champion\.json: not readable as Champion"):
        champions.read(workspace)


def test_a_log_that_lost_its_last_newline_still_takes_lines(workspace):
    champions.promote(workspace, "lsgmer:a1")
    path = champions.log_path(workspace)
    path.write_text(path.read_text().rstrip("\n"))
    champions.promote(workspace, "lsgmer:b2")
    assert [move.tag for move in champions.history(workspace)] == ["lsgmer:a1", "lsgmer:b2"]


def test_the_pointer_is_moved_last(workspace, monkeypatch):
    """A crash between log and pointer leaves the old champion serving, and the next promotion goes through."""
    champions.promote(workspace, "lsgmer:a1")
    write = champions.write_atomically

    def crash(path, content):
        if path == workspace.champion:
            raise OSError("power cut")
        write(path, content)

    monkeypatch.setattr(champions, "write_atomically", crash)
    with pytest.raises(OSError, match="power cut"):
        champions.promote(workspace, "lsgmer:b2")
    monkeypatch.undo()
    assert tag(workspace) == "lsgmer:a1"
    assert champions.promote(workspace, "lsgmer:b2").tag == "lsgmer:b2"
    assert champions.go_back(workspace).tag == "lsgmer:a1"
