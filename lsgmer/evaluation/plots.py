"""Plots as PNG or SVG files: no network, no pyplot state, and the same bytes for the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lsgmer.metrics import ModelMetrics, calibration_bins, risk_coverage

Array = np.ndarray[Any, Any]


def confusion_matrix(path: Path, counts: Array, names: Sequence[str], title: str = "fused: confusion") -> None:
    """Draw the share of each true class (row of counts (C, C)) that got each prediction (column), with counts."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = _figure(1.6 + 0.8 * len(names), 1.4 + 0.7 * len(names))
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        color = "white" if shares[row, column] > 0.5 else "black"
        label = f"{shares[row, column]:.0%}\n{counts[row, column]}"
        axes.text(column, row, label, ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    _save(figure, path)


def reliability(path: Path, truth: Array, probabilities: Array, bins: int, ece: float | None) -> None:
    """Draw accuracy against confidence per bin of the fused model; bars show how many utterances a bin holds."""
    weights, confidence, right = calibration_bins(truth, probabilities, bins)
    figure = _figure(4.5, 4)
    axes, filled = figure.add_subplot(), weights > 0
    axes.bar((np.arange(bins) + 0.5) / bins, weights, 0.9 / bins, color="0.85", label="share of utterances")
    axes.plot([0, 1], [0, 1], color="0.5", linestyle=":", label="perfect")
    axes.plot(confidence[filled], right[filled], marker="o", label="fused")
    title = "fused: calibration" + ("" if ece is None else f" (ECE {ece:.3f})")
    axes.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="confidence", ylabel="accuracy", title=title)
    axes.legend(fontsize=8)
    _save(figure, path)


def class_recall(path: Path, models: Mapping[str, ModelMetrics], names: Sequence[str]) -> None:
    """Draw the recall of each class, the models side by side; a class that is not in the test split has no bar."""
    figure = _figure(2 + 1.2 * len(names), 3.6)
    axes, width = figure.add_subplot(), 0.8 / len(models)
    for place, (model, metrics) in enumerate(models.items()):
        heights = [metrics.recall[name] or 0.0 for name in names]
        axes.bar(np.arange(len(names)) + (place - (len(models) - 1) / 2) * width, heights, width, label=model)
    axes.set_xticks(range(len(names)), names)
    axes.set(ylim=(0, 1), ylabel="recall", title="recall per class")
    figure.legend(fontsize=8, ncols=len(models), loc="outside lower center")
    _save(figure, path)


def risk_by_coverage(
    path: Path, correct: Array, scores: Mapping[str, Array], title: str = "fused: trust scores"
) -> None:
    """Draw the error rate of the fused model when it answers only the utterances with the highest score."""
    figure = _figure(4.5, 3.6)
    axes = figure.add_subplot()
    for name, score in scores.items():
        coverage, risk = risk_coverage(correct, score)
        axes.plot(coverage, risk, label=f"by {name}")
    axes.set(xlim=(0, 1), ylim=(0, None), xlabel="share answered", ylabel="error rate", title=title)
    axes.legend(fontsize=8)
    _save(figure, path)


def learning_curves(path: Path, curves: Sequence[Sequence[Mapping[str, float]]], title: str) -> None:
    """Draw training and validation loss, and validation balanced accuracy, by epoch: a thin line per run."""
    figure = _figure(8, 3.4)
    left, right = figure.subplots(1, 2)
    for rows in curves:
        epochs = [row["epoch"] for row in rows]
        left.plot(epochs, [row["train_loss"] for row in rows], color="tab:blue", linewidth=0.7)
        left.plot(epochs, [row["valid_loss"] for row in rows], color="tab:orange", linewidth=0.7)
        right.plot(epochs, [row["valid_balanced_accuracy"] for row in rows], color="tab:orange", linewidth=0.7)
    left.legend(left.get_lines()[:2], ["train", "valid"], fontsize=8)
    left.set(xlabel="epoch", ylabel="loss", title=title)
    right.set(xlabel="epoch", ylabel="balanced accuracy, valid", ylim=(0, 1))
    _save(figure, path)


def low_data(
    path: Path,
    sizes: Sequence[str],
    curves: Mapping[str, Mapping[str, tuple[float, float]]],
    untrained: float | None,
    metric: str,
    title: str,
) -> None:
    """Draw the mean and deviation of a score by training size, a line per name; `untrained` is a dotted level."""
    figure = _figure(6.5, 4.2)
    axes = figure.add_subplot()
    for number, (name, points) in enumerate(curves.items()):
        places = [sizes.index(size) + 0.03 * (number - len(curves) / 2) for size in points]  # or bars hide each other
        means, deviations = zip(*points.values(), strict=True)
        axes.errorbar(places, means, deviations, marker="o", markersize=3, linewidth=1, capsize=2, label=name)
    if untrained is not None:
        axes.axhline(untrained, color="0.5", linestyle=":", label="zero-shot")
    axes.set_xticks(range(len(sizes)), sizes)
    axes.set(xlabel="training utterances per class", ylabel=metric, title=title)
    axes.legend(fontsize=8)
    _save(figure, path)


def label_space(path: Path, fused: Array, truth: Array, labels: Array, names: Sequence[str], title: str) -> None:
    """Draw fused features (N, D), of class truth (N,), and label embeddings (C, D) on the first two principal axes.

    All are scaled to unit length first, because the attribution compares directions.
    """
    points = np.concatenate([fused, labels])
    points = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    centre = points[: len(fused)].mean(0)
    axes_of = np.linalg.svd(points[: len(fused)] - centre, full_matrices=False)[2][:2]
    axes_of *= np.sign(axes_of[np.arange(2), np.abs(axes_of).argmax(1)])[:, None]  # the sign of an axis is arbitrary
    plane = (points - centre) @ axes_of.T
    figure = _figure(5.5, 4.6)
    axes = figure.add_subplot()
    for index, name in enumerate(names):
        rows = np.flatnonzero(truth == index)
        color = f"C{index}"
        axes.scatter(plane[rows, 0], plane[rows, 1], s=5, alpha=0.5, color=color, linewidths=0, rasterized=True)
        x, y = plane[len(fused) + index]
        axes.scatter([x], [y], marker="*", s=160, color=color, edgecolors="black", label=name)
    axes.set(xlabel="first principal axis", ylabel="second principal axis", title=title)
    axes.legend(fontsize=8, title="label embeddings")
    _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    """Write PNG or SVG, by the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without these, matplotlib writes its version, the date and random ids into the file.
    if path.suffix == ".svg":
        with rc_context({"svg.hashsalt": path.name}):
            figure.savefig(path, format="svg", metadata={"Date": None})
    else:
        figure.savefig(path, format="png", metadata={"Software": None})
