from __future__ import annotations

import json

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


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.booleans()), max_size=40))
def test_the_confusion_counts_everything_once(rows: list[tuple[int, bool, bool]]) -> None:
    scores, abnormal, called = ([row[column] for row in rows] for column in range(3))
    result = evaluate(scores, abnormal, called)
    pairs = list(zip(abnormal, called, strict=True))
    assert result.true_positives == pairs.count((True, True))
    assert result.false_positives == pairs.count((False, True))
    assert result.true_negatives == pairs.count((False, False))
    assert result.false_negatives == pairs.count((True, False))
    assert (result.normals, result.abnormals) == (abnormal.count(False), abnormal.count(True))


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_rate_lies_in_its_interval(counts: tuple[int, int]) -> None:
    rate = Rate.of(*counts)
    assert rate.value == counts[0] / counts[1]
    assert 0 <= rate.low <= rate.value + 1e-12
    assert rate.value - 1e-12 <= rate.high <= 1


def test_more_pictures_narrow_every_interval() -> None:
    few, many = Rate.of(2, 20), Rate.of(20, 200)
    assert many.high - many.low < few.high - few.low
    scores, abnormal = np.array([1.0, 3, 2, 4, 5, 0]), np.array([False, False, True, True, True, False])
    small = auroc_with_interval(scores, abnormal)
    large = auroc_with_interval(np.tile(scores, 10), np.tile(abnormal, 10))
    assert large.value == pytest.approx(small.value)
    assert large.high - large.low < small.high - small.low


@given(labelled_scores)
def test_auroc_sees_only_the_order(rows: list[tuple[int, bool]]) -> None:
    scores, abnormal = arrays(rows)
    assert auroc(np.exp(scores), abnormal) == pytest.approx(auroc(scores, abnormal))
    assert auroc(-scores, abnormal) == pytest.approx(1 - auroc(scores, abnormal))


def test_equal_scores_tell_nothing() -> None:
    abnormal = np.array([True, False, True, False, False])
    assert auroc(np.ones(5), abnormal) == 0.5
    assert average_precision(np.ones(5), abnormal) == pytest.approx(2 / 5)


def test_a_perfect_and_an_upside_down_order_have_known_precision() -> None:
    abnormal = np.array([False, False, True, True])
    assert average_precision(np.arange(4.0), abnormal) == 1.0
    assert average_precision(-np.arange(4.0), abnormal) == pytest.approx((1 / 3 + 2 / 4) / 2)


def test_an_upside_down_order_of_few_is_not_certain() -> None:
    area = auroc_with_interval(-np.arange(10.0), np.arange(10) >= 5)
    assert (area.value, area.low) == (0.0, 0.0)
    assert 0.1 < area.high < 0.5


def test_without_normals_there_is_no_false_alarm_rate() -> None:
    result = evaluate([1.0, 2.0], [True, True], [False, True])
    assert result.false_alarm_rate.value is None
    assert result.auroc.value is None
    assert result.recall.value == 0.5
    assert result.precision.value == 1.0


def test_who_never_calls_abnormal_has_no_precision() -> None:
    result = evaluate([1.0, 2.0], [False, True], [False, False])
    assert result.precision.value is None
    assert result.recall.value == 0.0


@pytest.mark.parametrize("abnormal", [[], [True], [False, False], [True, False]])
def test_every_evaluation_can_be_written_as_json(abnormal: list[bool]) -> None:
    result = evaluate(np.arange(len(abnormal)), abnormal, abnormal)
    assert json.loads(json.dumps(result.to_json(), allow_nan=False)) == result.to_json()


def test_a_handful_is_too_little_to_call_a_model_worse() -> None:
    abnormal = np.array([False, False, False, True, True, True])
    current = np.array([1.0, 2, 3, 4, 5, 6])
    candidate = np.array([1.0, 2, 4, 3, 5, 6])
    assert auroc(candidate, abnormal) < auroc(current, abnormal)
    assert not significantly_worse(candidate, current, abnormal)


def test_the_judgement_of_two_models_is_always_the_same() -> None:
    generator = np.random.default_rng(3)
    abnormal = np.arange(40) >= 20
    current, candidate = abnormal + generator.normal(0, 0.5, 40), abnormal + generator.normal(0, 0.7, 40)
    answers = {significantly_worse(candidate, current, abnormal, resamples=200) for _ in range(3)}
    assert len(answers) == 1


def test_the_judgement_of_two_models_sees_only_the_order_of_scores() -> None:
    generator = np.random.default_rng(1)
    abnormal = np.arange(80) >= 40
    good, poor = abnormal + generator.normal(0, 0.3, 80), abnormal + generator.normal(0, 3.0, 80)
    assert significantly_worse(np.exp(poor), 1000 * good, abnormal, resamples=200)
