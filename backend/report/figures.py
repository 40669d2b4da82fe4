"""Plots of an evaluation, as SVG."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

Json = dict[str, Any]

NORMAL, ABNORMAL, INK = "#2f7d5b", "#d7263d", "#777777"
BINS = [bin / 40 for bin in range(41)]


def histogram(cases: list[Json]) -> bytes:
    """Scores of confirmed normal and abnormal pictures, and the threshold between them."""
    figure, axes = _figure()
    scores, abnormal = _scores(cases)
    axes.hist(
        [scores[~abnormal], scores[abnormal]],
        bins=BINS,
        stacked=True,
        color=[NORMAL, ABNORMAL],
        label=["confirmed normal", "confirmed abnormal"],
    )
    axes.axvline(0.5, color=INK, linestyle="--", label="threshold")
    axes.set(xlabel="score", ylabel="pictures", xlim=(0, 1))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return _svg(figure)


def curves(cases: list[Json]) -> bytes:
    """Recall against false alarms, and precision against recall; the dot is the threshold."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    scores, abnormal = _scores(cases)
    false_alarms, recall, _ = roc_curve(abnormal, scores)
    left.plot(false_alarms, recall, color=ABNORMAL)
    left.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    called = scores > 0.5
    left.plot(called[~abnormal].mean(), called[abnormal].mean(), "o", color=INK)
    left.set(xlabel="false-alarm rate", ylabel="recall", title="ROC")
    precision, found, _ = precision_recall_curve(abnormal, scores)
    right.plot(found, precision, color=ABNORMAL)
    right.set(xlabel="recall", ylabel="precision", ylim=(0, 1.05), title="Precision and recall")
    for axes in (left, right):
        _plain(axes)
    return _svg(figure)


def versions(found: list[Json]) -> bytes:
    """AUROC, recall and false-alarm rate from version to version, the oldest first."""
    measured = [version for version in reversed(found) if version["false_alarm_rate"] is not None]
    figure, axes = _figure()
    places = range(len(measured))
    lines = (("auroc", "AUROC", INK), ("recall", "found", NORMAL), ("false_alarm_rate", "false alarms", ABNORMAL))
    for key, label, color in lines:
        values = [np.nan if version[key] is None else version[key] for version in measured]
        axes.plot(places, values, color=color, marker="o", label=label)
    axes.set(ylim=(-0.03, 1.03))
    axes.set_xticks(places, [version["name"] for version in measured], rotation=20, ha="right", fontsize=8)
    axes.legend(frameon=False)
    return _svg(figure)


def drift(found: Json) -> bytes:
    """Scores of the newest pictures called normal beside those of the normal pictures at training."""
    figure, axes = _figure()
    rows = [(found["scores_at_training"], NORMAL, "at training"), (found["scores"], INK, "newest")]
    for scores, color, label in rows:
        weights = np.full(len(scores), 1 / len(scores))
        axes.hist(scores, bins=BINS, weights=weights, color=color, alpha=0.55, label=label)
    axes.axvline(0.5, color=INK, linestyle="--", label="threshold")
    axes.set(xlabel="score", ylabel="share of pictures", xlim=(0, 1))
    axes.legend(frameon=False)
    return _svg(figure)


def _scores(cases: list[Json]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scores = np.array([case["score"] for case in cases], dtype=float)
    return scores, np.array([case["confirmed"] == "abnormal" for case in cases], dtype=bool)


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    return figure, axes


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "anomaly"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()
