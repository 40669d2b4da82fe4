"""The benchmark's numbers as a table in Markdown, and as plots."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks import speed
from benchmarks.speed import Speed
from benchmarks.tables import ruled
from model.evaluation import Rate

mpl.use("Agg")
from matplotlib import pyplot as plt

Row = dict[str, Any]
HEAD = "| data | n | AUROC | AP | F1 max | AUPRO | false alarms (95 %) | found | model MB |"


def write_report(rows: list[Row], speeds: list[tuple[str, Speed]], folder: Path) -> str:
    """Writes table.md and the plots; returns the tables."""
    accuracy = [ruled(HEAD), *_lines(rows)]
    times = [ruled(speed.HEAD), *(found.line(name) for name, found in speeds)]
    table = "\n".join([*accuracy, "", *_disturbed_lines(rows), "", *times])
    (folder / "table.md").write_text(table + "\n")
    _plot(rows, folder / "accuracy.png")
    return table


def _lines(rows: list[Row]) -> Iterable[str]:
    for name, n, group in _groups(rows):
        alarms = Rate.of(*np.sum([row["false_alarms"] for row in group], axis=0).tolist())
        found = Rate.of(*np.sum([row["found"] for row in group], axis=0).tolist())
        cells = [
            name,
            str(n) if n else f"all {group[0]['learned']}",
            *(_mean(group, key) for key in ("auroc", "average_precision", "f1_max", "aupro")),
            f"{_percent(alarms.value)} ({_percent(alarms.low)} to {_percent(alarms.high)})",
            _percent(found.value),
            f"{np.mean([row['artifact_bytes'] for row in group]) / 1e6:.2f}",
        ]
        yield f"| {' | '.join(cells)} |"


def _disturbed_lines(rows: list[Row]) -> Iterable[str]:
    """False alarms on the same unseen normal pictures, clean and disturbed."""
    disturbed = [row for row in rows if "disturbed" in row]
    if not disturbed:
        return
    names = list(disturbed[0]["disturbed"])
    yield ruled(f"| data | n | clean | {' | '.join(names)} |")
    for name, n, group in _groups(disturbed):
        counts = [[row["false_alarms"] for row in group]]
        counts += [[row["disturbed"][kind] for row in group] for kind in names]
        rates = [np.sum(pairs, axis=0) for pairs in counts]
        cells = [_percent(wrong / total) for wrong, total in rates]
        yield f"| {name} | {n or 'all'} | {' | '.join(cells)} |"


def _plot(rows: list[Row], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name in dict.fromkeys(row["data"] for row in rows):
        groups = [group for known, _, group in _groups(rows) if known == name]
        learned = [group[0]["learned"] for group in groups]
        left.plot(learned, [np.mean([row["auroc"] for row in group]) for group in groups], marker="o", label=name)
        alarms = [np.sum([row["false_alarms"] for row in group], axis=0) for group in groups]
        right.plot(learned, [100 * wrong / total for wrong, total in alarms], marker="o", label=name)
    right.axhline(5, color="grey", linestyle=":", label="asked for")
    left.set(xlabel="normal pictures learned", ylabel="image AUROC")
    right.set(xlabel="normal pictures learned", ylabel="false alarms, %", ylim=(0, None))
    left.legend()
    right.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _groups(rows: list[Row]) -> Iterable[tuple[str, int | None, list[Row]]]:
    for name, n in dict.fromkeys((row["data"], row["n"]) for row in rows):
        yield name, n, [row for row in rows if (row["data"], row["n"]) == (name, n)]


def _mean(group: list[Row], key: str) -> str:
    values = [row[key] for row in group if row[key] is not None]
    return f"{np.mean(values):.3f}" if values else "-"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
