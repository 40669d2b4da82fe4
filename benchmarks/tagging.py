"""What it saves to tag first the pictures that the backend suggests, instead of any.

From a pool with some abnormal pictures people tag one after another; the normal ones are learned. Prints the AUROC by
how many are learned, and from how many on it is that of the most pictures tagged at random.

python -m benchmarks.tagging --data FOLDER --output FOLDER
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.datasets import DataSet, add_data_option, find_data_sets, split
from benchmarks.embedded import EmbeddedSet
from benchmarks.tables import ruled
from model.detector import AnomalyDetector
from model.selection import representative_order

mpl.use("Agg")
from matplotlib import pyplot as plt

SIZES = (5, 10, 15, 20, 30, 50, 75, 100)
SEEDS = 3
ABNORMAL_SHARE = 0.1
ORDERS = ("suggested", "at random")

Curve = dict[int, float]


def main() -> None:
    options = _options()
    curves = {data.name: measure(data) for data in find_data_sets(options.data)}
    options.output.mkdir(parents=True, exist_ok=True)
    _plot(curves, options.output / "tagging.png")
    print("\n".join(_lines(curves)))


def measure(data: DataSet) -> dict[str, Curve]:
    """For each order, the mean AUROC by how many normal pictures are learned."""
    pictures = EmbeddedSet.of(data, AnomalyDetector())
    runs = [(order, seed) for seed in range(SEEDS) for order in ORDERS]
    found: dict[str, list[Curve]] = {order: [] for order in ORDERS}
    for order, seed in tqdm(runs, desc=data.name, unit="run"):
        found[order].append(dict(_curve(pictures, order, seed)))
    return {order: _means(rows) for order, rows in found.items()}


def _curve(pictures: EmbeddedSet, order: str, seed: int) -> Iterator[tuple[int, float]]:
    pool, unseen = _pool(pictures.data, seed)
    if order == "suggested":
        looks = torch.stack([pictures.embeddings[index].look for index in pool])
        pool = pool[representative_order(looks, len(pool))]
    tagged = pool[~pictures.abnormal(pool)]
    for size in SIZES:
        if size <= len(tagged):
            yield size, pictures.auroc(pictures.fit(tagged[:size]), unseen)


def _pool(data: DataSet, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the pictures that wait to be tagged, in any order, and of those to judge."""
    parts = split(data, None, seed)
    assert parts is not None
    generator = np.random.default_rng(seed)
    abnormal = len(data.normal) + generator.permutation(len(data.abnormal))
    hidden = round(ABNORMAL_SHARE * len(parts.learned))
    pool = np.concatenate([parts.learned, abnormal[:hidden]])
    return generator.permutation(pool), np.concatenate([parts.unseen, abnormal[hidden:]])


def _means(rows: list[Curve]) -> Curve:
    return {size: float(np.mean([row[size] for row in rows])) for size in SIZES if all(size in row for row in rows)}


def _lines(curves: dict[str, dict[str, Curve]]) -> Iterator[str]:
    yield ruled(f"| data | tagged | {' | '.join(map(str, SIZES))} | as good as the most at random |")
    for name, by_order in curves.items():
        aim = list(by_order["at random"].values())[-1]
        for order, curve in by_order.items():
            enough = next((str(size) for size, auroc in curve.items() if auroc >= aim), "never")
            cells = [f"{curve[size]:.3f}" if size in curve else "-" for size in SIZES]
            yield f"| {name} | {order} | {' | '.join(cells)} | {enough} |"


def _plot(curves: dict[str, dict[str, Curve]], path: Path) -> None:
    figure, axes = plt.subplots(1, len(curves), figsize=(5 * len(curves), 4), layout="constrained", squeeze=False)
    for axis, (name, by_order) in zip(axes[0], curves.items(), strict=True):
        for order, curve in by_order.items():
            axis.plot(list(curve), list(curve.values()), marker="o", label=order)
        axis.set(title=name, xlabel="normal pictures tagged", ylabel="image AUROC")
        axis.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_option(parser)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out"), help="where the plot goes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
