"""Training on several processes: a stage starts itself once per rank, through torchrun."""

from __future__ import annotations

import os
import subprocess
import sys

from lsgmer.core.errors import LsgmerError
from lsgmer.core.process import OWNER, RANK, identity, is_rank
from lsgmer.core.sections import RuntimeParams


def is_first() -> bool:
    """Return whether this process writes the results: it is the first rank, or the only process."""
    return os.environ.get(RANK, "0") == "0"


def on_all(module: str, runtime: RuntimeParams) -> bool:
    """Run `module` once per process of `runtime` and return True; False where this process should do the work itself.

    The stage that calls this holds the lock for all ranks, and they end with it. Raises LsgmerError when a rank
    failed or was killed: torchrun ends the others, and the next run resumes after the last finished epoch.
    """
    if runtime.processes == 1 or is_rank():
        return False
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
    command += [f"--nproc-per-node={runtime.processes}", sys.executable, "-m", module]
    environment = {
        **os.environ,
        OWNER: identity(os.getpid()),
        "OMP_NUM_THREADS": str(runtime.threads),
        "ACCELERATE_USE_CPU": "true" if runtime.device == "cpu" else "false",
    }
    print(f"{module}: {runtime.processes} processes", flush=True)
    code = subprocess.run(command, env=environment, check=False).returncode
    if code:
        raise LsgmerError(
            f"training on {runtime.processes} processes ended with exit code {code}: see the lines above; run the same "
            "command again to resume after the last finished epoch"
        )
    return True
