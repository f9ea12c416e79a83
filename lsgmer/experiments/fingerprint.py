"""Stage `common` of experiments/dvc.yaml: one file that changes when code or parameters that all cells share do.

If these were dependencies of each cell, dvc.lock would name all of them once per cell. DVC writes the whole lock after
every stage, and hundreds of cells spent half of their time on that.
"""

from __future__ import annotations

import json
from pathlib import Path

from lsgmer.core.hashing import dvc_md5
from lsgmer.core.paths import write_atomically
from lsgmer.core.sections import lookup, read_yaml
from lsgmer.core.stage import guarded
from lsgmer.experiments.plan import FOLDER

OUT = "data/common.json"


def run(root: Path) -> None:
    """Write the DVC hash of each dependency of the stage, and the value of each parameter, to data/common.json."""
    folder = root / FOLDER
    stage, params = read_yaml(folder / "dvc.yaml")["stages"]["common"], read_yaml(root / "params.yaml")
    (keys,) = (given["../params.yaml"] for given in stage["params"])
    found = {
        "code": {path.removeprefix("../"): dvc_md5(folder / path) for path in stage["deps"]},
        "params": {key: lookup(params, key) for key in keys},
    }
    write_atomically(folder / OUT, json.dumps(found, indent=2, sort_keys=True) + "\n")


def main() -> None:
    """Run the stage; the current folder is the project's experiments/."""
    guarded("common", lambda workspace: run(workspace.root.parent))


if __name__ == "__main__":
    main()
