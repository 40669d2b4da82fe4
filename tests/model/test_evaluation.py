from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.evaluation import Rate, auroc, auroc_with_interval, average_precision, evaluate, significantly_worse

labelled_scores = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({abnormal for _, abnormal in rows}) == 2
)


def arrays(rows: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([float(score) for score, _ in rows]), np.array([abnormal for _, abnormal in rows])


@given(labelled_scores)
def test_auroc_counts_pairs(rows: list[tuple[int, bool]]) -> None:
    scores, abnormal = arrays(rows)
    pairs = [(a > n) + 0.5 * (a == n) for a in scores[abnormal] for n in scores[~abnormal]]
    area = auroc_with_interval(scores, abnormal)
    assert area.value == pytest.approx(np.mean(pairs))
    assert 0 <= area.low <= area.value + 1e-9 <= area.high + 2e-9 <= 1 + 3e-9


@given(labelled_scores)
def test_average_precision_sums_precision_over_recall(rows: list[tuple[int, bool]]) -> None:
    scores, abnormal = arrays(rows)
    expected, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        called = scores >= threshold
        hit = (called & abnormal).sum()
        expected += (hit / abnormal.sum() - recall) * hit / called.sum()
        recall = hit / abnormal.sum()
    assert average_precision(scores, abnormal) == pytest.approx(expected)


def test_a_confusion_by_hand() -> None:
    result = evaluate([5, 4, 3, 2, 1], [True, False, True, False, False], [True, True, False, False, False])
    assert (result.true_positives, result.false_positives) == (1, 1)
    assert (result.true_negatives, result.false_negatives) == (2, 1)
    assert result.recall.value == 0.5
    assert result.precision.value == 0.5
    assert result.false_alarm_rate.value == pytest.approx(1 / 3)


def test_rates_come_with_wilsons_interval() -> None:
    rate = Rate.of(81, 263)  # Newcombe (1998), table I
    assert (rate.low, rate.high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    assert Rate.of(0, 20).high == pytest.approx(0.1611, abs=5e-5)


def test_what_cannot_be_measured_is_none() -> None:
    result = evaluate([1.0, 2.0], [False, False], [False, True])
    assert result.auroc.value is None
    assert result.recall.value is None
    assert result.average_precision is None
    assert evaluate([], [], []).false_alarm_rate.value is None


def test_a_perfect_order_of_few_is_not_certain() -> None:
    area = auroc_with_interval(np.arange(10.0), np.arange(10) >= 5)
    assert (area.value, area.high) == (1.0, 1.0)
    assert 0.5 < area.low < 0.9


def test_worse_means_beyond_chance() -> None:
    generator = np.random.default_rng(1)
    abnormal = np.arange(80) >= 40
    good = abnormal + generator.normal(0, 0.3, 80)
    poor = abnormal + generator.normal(0, 3.0, 80)
    assert significantly_worse(poor, good, abnormal)
    assert not significantly_worse(good, poor, abnormal)
    assert not significantly_worse(good, good, abnormal)
    assert auroc(good, abnormal) > auroc(poor, abnormal)
