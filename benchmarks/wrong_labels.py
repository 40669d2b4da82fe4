"""What abnormal pictures cost that were tagged normal by mistake, and whether the list to check again finds them.

Some of a split's abnormal pictures are learned beside its normal ones. Prints AUROC and the share of anomalies found,
beside the same normal pictures alone, and the share of the hidden pictures that stand on the first fifth of the list.

python -m benchmarks.wrong_labels --data FOLDER
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from backend.review import to_check
from benchmarks.datasets import DataSet, data_option, find_data_sets, split
from benchmarks.embedded import EmbeddedSet, called_abnormal
from benchmarks.tables import ruled
from model.detector import AnomalyDetector
from model.evaluation import auroc

SIZES: tuple[int | None, ...] = (25, 50, None)
SEEDS = 5
SHARES = (0.0, 0.05, 0.1)
HEAD = "| data | learned | hidden | AUROC | found | on the first fifth | set aside |"

Row = tuple[float, float, float, float]
"""AUROC, share of anomalies above the threshold, share of the hidden on the first fifth, share of them set aside."""


def main() -> None:
    folder = data_option(__doc__)
    print(ruled(HEAD))
    for data in find_data_sets(folder):
        for line in measure(data):
            print(line, flush=True)


def measure(data: DataSet) -> Iterator[str]:
    """One line for each number of normal pictures and each share of wrong ones."""
    pictures = EmbeddedSet.of(data, AnomalyDetector())
    for n in SIZES:
        if split(data, n, 0) is None:
            continue
        for share in SHARES:
            runs = tqdm(range(SEEDS), desc=f"{data.name}, {n or 'all'}, {share:.0%} wrong", leave=False)
            rows = [_measure_one(pictures, n, share, seed) for seed in runs]
            yield _line(data.name, n, share, np.mean(rows, axis=0))


def _measure_one(pictures: EmbeddedSet, n: int | None, share: float, seed: int) -> Row:
    parts = split(pictures.data, n, seed)
    assert parts is not None
    generator = np.random.default_rng(seed)
    abnormal = len(pictures.data.normal) + generator.permutation(len(pictures.data.abnormal))
    most = round(max(SHARES) * len(parts.learned))
    hidden = abnormal[: round(share * len(parts.learned))]
    judged = np.concatenate([parts.unseen, abnormal[most:]])
    trained = pictures.fit(generator.permutation(np.concatenate([parts.learned, hidden])))
    scores, is_abnormal = pictures.raw_scores(trained, judged), pictures.abnormal(judged)
    found = called_abnormal(scores[is_abnormal], trained)
    return auroc(scores, is_abnormal), found, *_rediscovered(trained, hidden)


def _rediscovered(trained: AnomalyDetector, hidden: NDArray[np.int64]) -> tuple[float, float]:
    """Which share of the hidden pictures the list to check again shows, and which was set aside."""
    wrong = {str(index) for index in hidden}
    if not wrong:
        return float("nan"), float("nan")
    return (
        sum(image.name in wrong for image in to_check(trained.training)) / len(wrong),
        sum(image.suspect and image.name in wrong for image in trained.training) / len(wrong),
    )


def _line(name: str, n: int | None, share: float, means: NDArray[np.float64]) -> str:
    auroc, found, first, aside = means
    listed = f"{first:.0%} | {aside:.0%}" if share else "- | -"
    return f"| {name} | {n or 'all'} | {share:.0%} | {auroc:.3f} | {found:.0%} | {listed} |"


if __name__ == "__main__":
    main()
