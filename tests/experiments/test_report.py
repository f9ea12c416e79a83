"""The report counts finished cells only, and its differences are paired and adjusted."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from lsgmer.core.errors import LsgmerError
from lsgmer.experiments import report
from lsgmer.experiments.cell import CARD, PREDICTIONS, CellCard, cell_folder, settings_sha256
from lsgmer.experiments.plan import Plan, load_plan
from tests.experiments.test_plan import content, write  # noqa: F401 (a fixture)

LABELS = ("a", "b")
TRUTH = np.array([0, 1] * 40)


def write_cell(root, plan, cell, wrong, **changes):
    """A finished cell on utterances that `fold` tests, wrong on the first `wrong` of them."""
    rows = np.arange(len(TRUTH))[cell.fold :: 2]
    truth = TRUTH[rows // 2]
    guess = np.where(np.arange(len(rows)) < wrong, 1 - truth, truth)
    probabilities = np.where(np.eye(2)[guess] > 0, 0.8, 0.2)
    table = pa.table(
        {
            "id": [f"u{row:03}" for row in rows],
            "speaker": [f"s{cell.fold}"] * len(rows),
            "label": truth,
            "probabilities": pa.array(probabilities.tolist(), pa.list_(pa.float32())),
            "consistency": pa.array(np.linspace(0, 1, len(rows)), pa.float32()),
        }
    )
    folder = cell_folder(root, cell)
    folder.mkdir(parents=True)
    out = io.BytesIO()
    parquet.write_table(table, out)
    (folder / PREDICTIONS).write_bytes(out.getvalue())
    row = {"epoch": 0.0, "train_loss": 1.0, "valid_loss": 1.0, "valid_balanced_accuracy": 0.5}
    fields = {
        "study": cell.study,
        "variant": cell.variant,
        "fold": cell.fold,
        "seed": cell.seed,
        "protocol": "leave one speaker out",
        "labels": LABELS,
        "counts": {"train": 8, "valid": 4, "test": len(rows)},
        "shared_speakers": 0,
        "parameters": 10,
        "best_epoch": 0,
        "history": (row,),
        "manifest_sha256": "m",
        "feature_sha256": "f",
        "settings_sha256": settings_sha256(root, plan, cell),
    }
    (folder / CARD).write_text(CellCard(**(fields | changes)).to_json())


@pytest.fixture
def project(content, tmp_path):  # noqa: F811
    """Two folds, two seeds of full and without_apc, the second worse by 10 errors in each fold."""
    empty = {"studies": [], "variants": [], "folds": [], "seeds": []}
    grid = {"studies": ["nemo"], "variants": ["full", "without_apc"], "folds": [0, 1], "seeds": [1, 2]}
    content["grids"], content["quick"] = {"nemo": grid, "meld": empty, "own": empty}, {}
    root = write(tmp_path, content)
    return root, load_plan(root)


def fill(root, plan, **changes):
    for cell in plan.cells():
        write_cell(root, plan, cell, 10 if cell.variant == "without_apc" else 2, **changes)


def render(root: Path, plan: Plan) -> tuple[str, list[str]]:
    out = root / "out" / "r.md"
    notes = report.write(root, plan, plan.cells(), out, "png", "the command")
    return out.read_text(), notes


def test_the_table_pools_folds_and_compares_with_full(project):
    root, plan = project
    fill(root, plan)
    text, notes = render(root, plan)
    assert notes == []
    full, ablated = (line for line in text.splitlines() if line.startswith(("| full | 2", "| without APC | 2")))
    assert full.split("|")[3].strip() == "0.950 ± 0.000"  # 4 of 80 wrong, both seeds alike
    assert ablated.split("|")[3].strip() == "0.750 ± 0.000"
    assert "-0.200 [-" in ablated
    mean = next(line for line in text.splitlines() if line.startswith("| full, mean of 2 seeds | 2 |"))
    assert mean.split("|")[3].strip() == "0.950 ± 0.000"  # over folds: both seeds answer alike
    assert "+0.200 UA, **helps**" in text
    assert {path.name for path in (root / "out" / "r").iterdir()} == {
        "nemo-confusion.png",
        "nemo-curves.png",
        "nemo-trust.png",
    }


def test_what_is_missing_or_stale_is_said_and_not_counted(project):
    root, plan = project
    fill(root, plan)
    cells = {(c.variant, c.fold, c.seed): c for c in plan.cells()}
    (cell_folder(root, cells["without_apc", 0, 2]) / CARD).unlink()
    stale = cell_folder(root, cells["full", 1, 1]) / CARD
    stale.write_text(stale.read_text().replace('"settings_sha256": "', '"settings_sha256": "0'))
    text, notes = render(root, plan)
    assert notes == ["nemo: 1 cells are missing, 1 are of other settings"]
    assert "**Incomplete**: nemo: 1 cells are missing, 1 are of other settings." in text
    assert "| full | 1 |" in text
    assert "| without APC | 1 |" in text


def test_shared_speakers_are_said_in_bold(project):
    root, plan = project
    fill(root, plan, shared_speakers=3)
    assert "**3 test speakers are heard in training or validation: not speaker-independent.**" in render(root, plan)[0]


def test_a_leaky_protocol_is_marked_in_every_report(project, content):  # noqa: F811
    root, _ = project
    plan = load_plan(root)
    source = plan.sources["nemo"]
    leaky = source.model_copy(
        update={"protocol": source.protocol.model_copy(update={"kind": "leaky_random_utterances"})}
    )
    plan = plan.model_copy(update={"sources": {**plan.sources, "nemo": leaky}})
    fill(root, plan)
    assert "Protocol: **LEAKY: random split by utterance, speakers on both sides**" in render(root, plan)[0]


def test_cells_of_different_utterances_are_refused(project):
    root, plan = project
    fill(root, plan)
    cell = plan.cells()[0]
    path = cell_folder(root, cell) / PREDICTIONS
    parquet.write_table(parquet.read_table(path).slice(1), path)
    with pytest.raises(LsgmerError, match="tested on different utterances"):
        render(root, plan)


def test_without_a_finished_cell_there_is_no_report(project):
    root, plan = project
    with pytest.raises(LsgmerError, match="experiments run"):
        render(root, plan)
