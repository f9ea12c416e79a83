"""Benchmarks pair their sides in turn, report medians, and write into a page only between its markers."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from bench import page
from bench.growth import PER_SPEAKER, write_corpus
from bench.loso import dump
from bench.paired import NotMeasured, Pair, Sample, measure, timed


def pair(ours, control, **changes):
    return Pair("demo", "ours", "control", ours, control, **changes)


def test_sides_run_in_turn_and_swap_who_begins():
    order = []
    measure(pair(lambda: order.append("ours"), lambda: order.append("control") or time.sleep(0.001), repeats=4))
    assert order[:2] == ["ours", "control"]  # to warm up
    assert order[2:] == ["ours", "control", "control", "ours"] * 2


def test_medians_and_the_ratio_are_of_pairs_not_of_the_best():
    ours = iter([Sample(1, 1, 10), Sample(9, 8, 30), Sample(2, 2, 20)])
    control = iter([Sample(1, 2, 1), Sample(1, 2, 1), Sample(1, 1, 1)])
    row = measure(pair(lambda: next(ours), lambda: next(control), repeats=3, warm_up=False))
    assert row["ours"] == {"wall_s": 2, "cpu_s": 2, "peak_mib": 20}
    assert (row["cpu_ratio"], row["cpu_ratio_range"]) == (2, [0.5, 4])


def test_processor_time_tells_sleeping_from_working():
    slept = timed(lambda: time.sleep(0.2))
    assert slept.wall_s >= 0.2
    assert slept.cpu_s < 0.1
    end = time.process_time() + 0.2
    worked = timed(lambda: [None for _ in iter(lambda: time.process_time() < end, False)])
    assert worked.cpu_s >= 0.15


def test_a_page_changes_between_its_markers_only():
    text = "# Title\n<!-- a -->\nold\n<!-- /a -->\nby hand\n<!-- b -->\n<!-- /b -->\n"
    changed = page.put(text, "a", r"new \1")
    assert changed == "# Title\n<!-- a -->\nnew \\1\n<!-- /a -->\nby hand\n<!-- b -->\n<!-- /b -->\n"
    assert page.put(changed, "a", r"new \1") == changed
    with pytest.raises(ValueError, match="needs the markers"):
        page.put(text, "c", "new")


def growth(sizes, per=0.01, fixed=2.0):
    def cost(n):
        return {
            "cpu_s": fixed + per * n,
            "wall_s": 1,
            "peak_memory_mib": 100 + n / 1000,
            "disk_mib": n / 100,
            "load": 1,
        }

    return [{"kind": "text", "utterances": n, "stages": {"train": cost(n)}} for n in sizes]


def test_slopes_come_from_the_two_largest_sizes_that_were_measured():
    found = {each["utterances"]: each["stages"] for each in growth([1000, 10_000])}
    per, fixed, sizes = page.slope(found, "train", "cpu_s")
    assert (round(per, 6), round(fixed, 3), sizes) == (0.01, 2.0, [1000, 10_000])
    assert page.slope(found, "features", "cpu_s") is None


def test_what_was_not_measured_says_so_with_its_command():
    table = page.growth_table(growth([1000, 10_000]))
    assert "| train | 12.0 s CPU, 1 s (load 1), 101 MiB | 102.0 s CPU" in table
    assert "`python -m bench.growth text 100000`" in table
    assert "| train | 27.8 h | 9.8 GiB | 97.7 GiB | slope from 1,000 to 10,000 |" in page.plan_table(
        growth([1000, 10_000])
    )
    assert "| features | not measured |" in page.plan_table(growth([1000, 10_000]))


def test_the_page_in_docs_holds_what_was_measured(tmp_path):
    folder = page.PLOT.parent
    text = page.PAGE.read_text(encoding="utf-8")
    results = json.loads((folder / "growth.json").read_text())
    assert page.put(text, "growth", page.growth_table(results)) == text
    assert page.put(text, "plan", page.plan_table(results)) == text
    for row in json.loads((folder / "paired.json").read_text()):
        assert f"| {row['name']} | {row['what']} | {row['control_is']} |" in text
    page.draw(results, tmp_path / "growth.svg")
    assert "<svg" in (tmp_path / "growth.svg").read_text()


def test_rows_that_need_a_workspace_say_how_to_make_it(tmp_path, monkeypatch):
    from bench import command_rows

    monkeypatch.setattr(command_rows, "FINISHED", tmp_path)
    with pytest.raises(NotMeasured, match=r"lsgmer run --workspace"):
        command_rows.idle_pairs()


@pytest.mark.parametrize("with_audio", [False, True])
def test_the_growing_corpus_is_one_that_the_parameters_read(tmp_path, with_audio):
    from bench.growth import overlay
    from lsgmer.corpora.readers import read_corpus
    from lsgmer.params import read_layers

    write_corpus(tmp_path / "corpus", 5 * PER_SPEAKER, with_audio)
    dump(tmp_path / "overlay.yaml", overlay(tmp_path / "corpus", with_audio))
    _, params = read_layers(page.ROOT / "params.yaml", tmp_path / "overlay.yaml")
    reading = read_corpus(params.corpus, tmp_path / "corpus")
    assert not reading.rejected
    splits = np.unique([u.split for u in reading.utterances], return_counts=True)
    assert dict(zip(*splits, strict=True)) == {"train": 150, "valid": 50, "test": 50}
    assert all((u.audio is not None) == with_audio for u in reading.utterances)
