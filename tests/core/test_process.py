"""The environment that processes run in: a proxy is never asked for this machine; C libraries can be silenced."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request

import httpx
import pytest

from lsgmer.core.process import is_loopback, native_stderr_off, without_proxy


@pytest.mark.parametrize(
    "given",
    [{}, {"no_proxy": "example.org"}, {"NO_PROXY": "a.org, b.org", "no_proxy": ""}, {"NO_PROXY": "localhost"}],
)
def test_this_machine_is_added_to_what_no_proxy_names_and_nothing_is_lost(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = without_proxy({"http_proxy": "http://127.0.0.1:9", **given})
    assert made["NO_PROXY"] == made["no_proxy"]
    hosts = made["NO_PROXY"].split(",")
    assert {"127.0.0.1", "localhost", "::1"} <= set(hosts)
    assert {host.strip() for text in given.values() for host in text.split(",") if host} <= set(hosts)
    assert len(hosts) == len(set(hosts))
    assert without_proxy(made) == made
    monkeypatch.setattr(os, "environ", made)
    assert urllib.request.proxy_bypass("127.0.0.1")
    assert not urllib.request.proxy_bypass("other.org")
    httpx.Client().close()


def test_only_this_machine_is_loopback() -> None:
    assert all(map(is_loopback, ("http://127.0.0.1:4200/api", "http://localhost/x", "http://[::1]:80/")))
    assert not any(map(is_loopback, ("http://example.org", "http://127.0.0.1.example.org", "", "http://[bad")))


def test_what_a_c_library_writes_is_dropped_and_what_comes_after_is_not() -> None:
    code = (
        "import os; from lsgmer.core.process import native_stderr_off\n"
        "with native_stderr_off():\n    os.write(2, b'Note: Trying to resync...')\n"
        "os.write(2, b'after')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "after"
    with pytest.raises(ValueError, match="x"), native_stderr_off():
        raise ValueError("x")


def test_lines_of_a_library_are_dropped_and_all_others_kept():
    code = (
        "import os, sys, time; from lsgmer.core.process import drop_native_lines; drop_native_lines(b'[lib');"
        "os.write(2, b'[lib/a.c] error\\nfirst\\n'); print('second', file=sys.stderr, flush=True);"
        "os.write(2, b'third [lib\\n[lib/b.c] x\\n'); time.sleep(0.5)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.splitlines() == ["first", "second", "third [lib"]
