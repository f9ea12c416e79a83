"""A real S3 server on loopback (moto's), and DVC remotes in it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ACCESS, SECRET = "AKIAEXAMPLEONLY12345", "only-for-tests/0123456789abcdefghijklmno"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
# No credentials but these: not the machine's files, not a cloud's metadata service; and give up at once.
ISOLATED = {
    "AWS_CONFIG_FILE": "/nowhere/config",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere/credentials",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(folder: Path, bucket: str) -> Iterator[str]:
    """Start the server and make `bucket`; yield the endpoint's URL; stop it after."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    with (folder / "s3.log").open("w") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/moto-api/data.json", timeout=5, trust_env=False)
                break
            except httpx.TransportError:
                assert process.poll() is None, (folder / "s3.log").read_text()
                assert time.monotonic() < end
                time.sleep(0.2)
        httpx.put(f"{url}/{bucket}", trust_env=False).raise_for_status()
        yield url
    finally:
        process.terminate()
        process.wait(timeout=10)


def use_remote(root: Path, url: str, endpoint: str) -> None:
    """Make the S3 address `url` at `endpoint` the DVC remote of `root`, as docs/scaling.md says."""
    for arguments in (
        ("remote", "add", "--quiet", "--force", "--default", "store", url),
        ("remote", "modify", "--quiet", "store", "endpointurl", endpoint),
    ):
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True, capture_output=True)
