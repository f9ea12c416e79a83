"""Stage `common` of experiments/dvc.yaml: one file that changes when code or parameters that all cells share do.

Were these the dependencies of each cell, dvc.lock would name all of them once per cell. DVC writes the whole lock after
every stage, so hundreds of cells spent half of their time on that.
"""

from __future__ import annotations

import json
from functools import reduce
from pathlib import Path
from typing import Any

from lsgmer.experiments.plan import FOLDER
from lsgmer.lineage import file_sha256
from lsgmer.params import read_yaml
from lsgmer.paths import write_atomically
from lsgmer.runtime import guarded

OUT = "data/common.json"


def run(root: Path) -> None:
    """Write the sha256 of each file and the value of each parameter that the stage depends on to data/common.json."""
    folder = root / FOLDER
    stage = read_yaml(folder / "dvc.yaml")["stages"]["common"]
    watched = [folder / path for path in stage["deps"]]
    files = [file for path in watched for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))]
    code = {file.resolve().relative_to(root.resolve()).as_posix(): file_sha256(file) for file in files}
    (keys,) = (given["../params.yaml"] for given in stage["params"])
    params = read_yaml(root / "params.yaml")
    found = {"code": code, "params": {key: _value(params, key) for key in keys}}
    write_atomically(folder / OUT, json.dumps(found, indent=2, sort_keys=True) + "\n")


def _value(params: dict[str, Any], key: str) -> Any:
    return reduce(lambda section, name: section[name], key.split("."), params)


def main() -> None:
    """Run the stage; the current folder is the project's experiments/."""
    guarded("common", lambda workspace: run(workspace.root.parent))


if __name__ == "__main__":
    main()
