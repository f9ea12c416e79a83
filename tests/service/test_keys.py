"""API keys: shown once, kept as hashes in a file of their owner's, and refused as soon as they are revoked."""

from __future__ import annotations

import hmac
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsgmer.core.errors import LsgmerError
from lsgmer.service import keys
from lsgmer.service.keys import NAME, Keys

ADD = """
import sys
from pathlib import Path
from lsgmer.service.keys import add
print(add(Path(sys.argv[1]), sys.argv[2]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".lsgmer" / "keys.json"


def test_a_key_opens_and_nothing_else_does(path):
    assert Keys.read(path).who("anything") is None
    assert not Keys.read(path).any_made
    web, batch = keys.add(path, "web"), keys.add(path, "batch-2")
    found = Keys.read(path)
    assert (found.who(web), found.who(batch)) == ("web", "batch-2")
    for wrong in ("", "web", web[:-1], web + "a", web.upper(), web + "\n", "\udc80", "é", "x" * 100_000):
        assert found.who(wrong) is None, wrong[:20]
    for key in found._loaded.keys:
        assert found.who(key.sha256) is None
        assert found.who(key.salt) is None


def test_keys_have_256_bits_and_only_hashes_of_them_are_kept(path):
    made = [keys.add(path, f"k{i}") for i in range(20)]
    assert len(set(made)) == 20
    assert {len(key) for key in made} == {len("lsgmer_") + 43}  # 43 letters of base64url hold 256 bits
    stored = path.read_text()
    assert not any(key in stored or key.removeprefix("lsgmer_") in stored for key in made)
    assert len({key["salt"] for key in json.loads(stored)["keys"]}) == 20
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_revoked_key_stops_working_without_a_restart(path):
    web, other = keys.add(path, "web"), keys.add(path, "other")
    running = Keys.read(path)
    assert running.who(web) == "web"
    assert keys.revoke(path, "web").status.startswith("revoked 20")
    assert (running.who(web), running.who(other)) == (None, "other")
    later = keys.add(path, "later")
    assert running.who(later) == "later"
    path.unlink()
    assert (running.who(other), running.any_made) == (None, False)


def test_every_key_is_compared_whatever_was_found(path, monkeypatch):
    made = [keys.add(path, f"k{i}") for i in range(5)]
    keys.revoke(path, "k3")
    compared = []
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    for given_key, name in ((made[0], "k0"), (made[3], None), (made[4], "k4"), ("wrong", None)):
        compared.clear()
        assert Keys.read(path).who(given_key) == name
        assert len(compared) == 5


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", ".a", "a/b", "é", "a" * 65, "a\n", "a\x00"])
def test_names_that_are_not_plain_are_refused(path, name):
    with pytest.raises(LsgmerError, match="not a name for a key"):
        keys.add(path, name)
    assert not path.exists()


def test_a_name_is_used_once_for_ever(path):
    keys.add(path, "web")
    with pytest.raises(LsgmerError, match="key web: there is one already"):
        keys.add(path, "WEB")
    keys.revoke(path, "web")
    with pytest.raises(LsgmerError, match=r"key web: was revoked on 20.*choose another name"):
        keys.add(path, "web")
    with pytest.raises(LsgmerError, match="already revoked"):
        keys.revoke(path, "web")
    with pytest.raises(LsgmerError, match=r"key x: there is no such key \(active keys: none\)"):
        keys.revoke(path, "x")
    assert [(key.name, key.revoked is None) for key in keys.all_keys(path)] == [("web", False)]


@pytest.mark.parametrize("content", ["", "{", '{"keys": [{"name": "a"}]}', '{"format": "lsgmer-keys/2", "keys": []}'])
def test_a_damaged_file_lets_nobody_in_and_is_named(path, content):
    web = keys.add(path, "web")
    running = Keys.read(path)
    path.write_text(content)
    for attempt in (lambda: running.who(web), lambda: Keys.read(path), lambda: keys.add(path, "b")):
        with pytest.raises(LsgmerError, match=r"keys\.json: not readable as keys"):
            attempt()
    assert path.read_text() == content


def test_keys_made_at_once_by_several_processes_are_all_kept(path):
    running = [
        subprocess.Popen([sys.executable, "-c", ADD, str(path), f"k{i}"], stdout=subprocess.PIPE, text=True)
        for i in range(4)
    ]
    made = [process.communicate()[0].strip() for process in running]
    found = Keys.read(path)
    assert [found.who(key) for key in made] == ["k0", "k1", "k2", "k3"]
    assert sorted(file.name for file in path.parent.iterdir()) == ["keys.json", "keys.lock"]


@given(st.text(max_size=80))
def test_no_text_is_taken_for_a_key(text):
    salt = "00" * 16
    one = keys.Key(name="one", salt=salt, sha256=keys._hash(salt, b"lsgmer_one"), created="now")
    held = Keys(Path("/nowhere/keys.json"))
    held._loaded = keys._Loaded(None, (one,))
    assert held.who(text) is None
    assert held.who("lsgmer_one") == "one"
    assert bool(NAME.fullmatch(text)) == (text.isascii() and 0 < len(text) <= 64 and _plain(text))


def _plain(text: str) -> bool:
    return text[0].isalnum() and all(letter.isalnum() or letter in "._-" for letter in text)
