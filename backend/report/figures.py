"""Plots of an evaluation, as SVG that follows the reader's choice of light or dark."""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from hashlib import sha256
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

Json = dict[str, Any]

# Each pair stays apart for the colour-blind, and readable on white and on black.
NORMAL, ABNORMAL = "#3f88c5", "#e0662f"
SIDE_COLOURS = {"dev": "#9a6fc9", "test": "#1f9a83"}
NEWEST = SIDE_COLOURS["dev"]
INK = "#010203"  # stands for the text colour of the page
FOLLOWS_PAGE = b"<style>svg{color:#444b5a}@media(prefers-color-scheme:dark){svg{color:#c3c9d6}}</style>"
SIDES = {"dev": "development", "test": "test"}
LINES = {"dev": "--", "test": "-"}
BINS = [bin / 40 for bin in range(41)]
MOST_VERSIONS = 20
MOST_KEPT = 64

# For the whole process: only this module draws, and from many threads at once.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "anomaly", "axes.spines.top": False})
mpl.rcParams.update({"axes.spines.right": False, "axes.titlesize": 10, "axes.titlelocation": "left"})
mpl.rcParams.update(
    dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)
)


def _kept(draw: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """The same numbers give the same plot, so the latest ones are drawn once."""
    plots: OrderedDict[bytes, bytes] = OrderedDict()

    @wraps(draw)
    def drawn(data: Any) -> bytes:
        key = sha256(json.dumps(data).encode()).digest()
        plot = plots[key] = plots.get(key) or draw(data)
        while len(plots) > MOST_KEPT:
            plots.popitem(last=False)
        return plot

    return drawn


@_kept
def histogram(cases: list[Json]) -> bytes:
    """Scores of confirmed normal and abnormal pictures and the threshold between them, for each side that has any."""
    sides = [side for side in SIDES if any(case["split"] == side for case in cases)]
    figure = _figure(height=1 + 1.5 * len(sides))
    rows = figure.subplots(len(sides), 1, sharex=True, squeeze=False)[:, 0]
    for axes, side in zip(rows, sides, strict=True):
        scores, abnormal = _scores(cases, side)
        axes.hist(
            [scores[~abnormal], scores[abnormal]],
            bins=BINS,
            stacked=True,
            histtype="stepfilled",  # one path instead of eighty bars: half the time
            color=[NORMAL, ABNORMAL],
            label=["confirmed normal", "confirmed abnormal"],
        )
        axes.axvline(0.5, color=INK, linestyle="--", linewidth=1, label="threshold")
        axes.set(ylabel="pictures", xlim=(0, 1))
        axes.set_title(SIDES[side])
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    rows[-1].set_xlabel("score")
    figure.legend(*rows[0].get_legend_handles_labels(), loc="upper right", ncols=3, frameon=False, reverse=True)
    return _svg(figure)


@_kept
def curves(cases: list[Json]) -> bytes:
    """Recall against false alarms, and precision against recall, for development and test; a dot is the threshold."""
    figure = _figure(height=3.6)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    for side, title in SIDES.items():
        scores, abnormal = _scores(cases, side)
        if abnormal.all() or not abnormal.any():
            continue
        called = scores > 0.5
        recall_now, alarms_now = called[abnormal].mean(), called[~abnormal].mean()
        look = {"color": SIDE_COLOURS[side], "linestyle": LINES[side]}
        false_alarms, recall, _ = roc_curve(abnormal, scores)
        left.plot(false_alarms, recall, label=title, **look)
        left.plot(alarms_now, recall_now, "o", color=look["color"])
        precision, found, _ = precision_recall_curve(abnormal, scores)
        right.plot(found, precision, label=title, **look)
        if called.any():
            right.plot(recall_now, abnormal[called].mean(), "o", color=look["color"])
    left.set(xlabel="false-alarm rate", ylabel="recall", title="ROC", ylim=(-0.03, 1.05))
    right.set(xlabel="recall", ylabel="precision", title="Precision and recall", ylim=(-0.03, 1.05))
    figure.legend(*left.get_legend_handles_labels(), loc="upper right", ncols=2, frameon=False)
    return _svg(figure)


@_kept
def versions(found: list[Json]) -> bytes:
    """AUROC, recall and false-alarm rate from version to version, the oldest first, with their 95 % intervals.

    A hollow dot: some of the pictures had been learned.
    """
    shown = found[:MOST_VERSIONS][::-1]
    figure = _figure(height=3.8, bottom=1.3)
    titles = {"false_alarm_rate": "False alarms", "recall": "Found", "auroc": "Order of the scores (AUROC)"}
    for axes, (key, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        for shift, (side, label) in zip((-0.08, 0.08), SIDES.items(), strict=True):
            values = np.array([_with_interval(version, side, key) for version in shown])
            places = np.arange(len(shown)) + shift
            axes.errorbar(
                places,
                values[:, 0],
                yerr=np.abs(values[:, 1:] - values[:, :1]).T,
                color=SIDE_COLOURS[side],
                linestyle=LINES[side],
                elinewidth=0.8,
                label=label,
            )
            learned = np.array([bool((version.get(side) or {}).get("learned")) for version in shown])
            for rows, fill in ((learned, "none"), (~learned, "full")):
                dots = {"color": SIDE_COLOURS[side], "marker": "o", "markersize": 4, "fillstyle": fill}
                axes.plot(places[rows], values[rows, 0], linestyle="", **dots)
        axes.set_title(title)
        axes.set(ylim=(-0.03, 1.03))
        if key != "auroc":
            axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        names = [version["name"].removeprefix("normal-") for version in shown]
        axes.set_xticks(range(len(shown)), names, rotation=90, fontsize=8)
    figure.legend(*axes.get_legend_handles_labels(), loc="lower right", ncols=2, frameon=False)
    return _svg(figure)


@_kept
def drift(found: Json) -> bytes:
    """Scores of the newest pictures called normal beside those of the normal pictures at training."""
    figure = _figure(height=3)
    axes = figure.subplots()
    rows = [(found["scores_at_training"], NORMAL, "at training"), (found["scores"], NEWEST, "newest")]
    for scores, color, label in rows:
        weights = np.full(len(scores), 1 / len(scores))
        axes.hist(scores, bins=BINS, weights=weights, histtype="stepfilled", color=color, alpha=0.6, label=label)
    axes.axvline(0.5, color=INK, linestyle="--", linewidth=1, label="threshold")
    axes.set(xlabel="score", ylabel="share of pictures", xlim=(0, 1))
    axes.legend(frameon=False)
    return _svg(figure)


def _figure(*, height: float, bottom: float = 0.5) -> Figure:
    """Nine inches wide. bottom: inches for what stands below the axes; measuring the texts would take as long again."""
    figure = Figure(figsize=(9, height))
    below, above = bottom / height, 1 - 0.4 / height
    figure.subplots_adjust(left=0.07, right=0.985, bottom=below, top=above, wspace=0.2, hspace=0.35)
    return figure


def _scores(cases: list[Json], side: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    chosen = [case for case in cases if case["split"] == side]
    scores = np.array([case["score"] for case in chosen], dtype=float)
    return scores, np.array([case["confirmed"] == "abnormal" for case in chosen], dtype=bool)


def _with_interval(version: Json, side: str, key: str) -> tuple[float, float, float]:
    found = (version.get(side) or {}).get(key) or {}
    value, low, high = (np.nan if found.get(name) is None else found[name] for name in ("value", "low", "high"))
    return value, low, high


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    head, end, rest = buffer.getvalue().replace(INK.encode(), b"currentColor").partition(b"<defs>")
    return head + FOLLOWS_PAGE + end + rest
