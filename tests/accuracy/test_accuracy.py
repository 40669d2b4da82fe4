"""Whether the detector is as good on real pictures as it should be; slow, and never tuned to."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from benchmarks.datasets import data_folder, find_data_sets, split
from benchmarks.embedded import EmbeddedSet
from model.detector import AnomalyDetector
from model.evaluation import evaluate

SEEDS = range(3)

Measured = Callable[[int, int], tuple[float, float]]


@pytest.fixture(scope="module")
def tiles() -> EmbeddedSet:
    """All magnetic tiles, embedded."""
    if not (data_folder() / "magnetic_tile").is_dir():
        pytest.skip(f"no magnetic_tile in {data_folder()}: set ANOMALY_DATA to a folder that holds the magnetic tiles")
    data = next(data for data in find_data_sets(data_folder()) if data.name == "magnetic_tile")
    return EmbeddedSet.of(data, AnomalyDetector())


def measure(tiles: EmbeddedSet, n: int, seed: int) -> tuple[float, float]:
    """AUROC and false-alarm rate after learning n normal pictures, on normal pictures that were never learned."""
    parts = split(tiles.data, n, seed)
    assert parts is not None
    unseen = [*parts.unseen, *range(len(tiles.data.normal), len(tiles.data.pictures))]
    detector = tiles.fit(parts.learned)
    judged = [detector.judge(tiles.embeddings[index]) for index in unseen]
    result = evaluate(
        [prediction.raw_score for prediction in judged],
        tiles.abnormal(unseen),
        [prediction.verdict == "abnormal" for prediction in judged],
    )
    assert result.auroc.value is not None
    assert result.false_alarm_rate.value is not None
    return result.auroc.value, result.false_alarm_rate.value


@pytest.fixture(scope="module")
def measured(tiles: EmbeddedSet) -> Measured:
    """Measures each number of pictures and seed once, for all tests."""
    return cache(lambda n, seed: measure(tiles, n, seed))


@pytest.mark.parametrize(("n", "wanted"), [(10, 0.80), (100, 0.88)])
def test_tiles_are_told_apart(measured: Measured, n: int, wanted: float) -> None:
    assert np.mean([measured(n, seed)[0] for seed in SEEDS]) >= wanted


@pytest.mark.parametrize("n", [50, 100, 168])
def test_false_alarms_are_as_rare_as_promised(measured: Measured, n: int) -> None:
    assert 0.02 <= np.mean([measured(n, seed)[1] for seed in SEEDS]) <= 0.09
