from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.calibration import (
    ENOUGH,
    SUSPECTS_FROM,
    Calibration,
    conformal_threshold,
    supported_threshold,
    suspects,
    tail_threshold,
)

some_scores = st.lists(st.floats(0, 1e6), min_size=2, max_size=60).map(lambda values: np.sort(np.array(values)))


def test_the_threshold_is_the_conformal_order_statistic() -> None:
    scores = np.arange(1.0, 100.0)
    assert conformal_threshold(scores, 0.05) == 95.0
    assert conformal_threshold(scores, 0.10) == 90.0
    assert conformal_threshold(scores[:10], 0.05) == 10.0


@pytest.mark.parametrize("n", [ENOUGH, 100, 200])
def test_new_normals_exceed_it_as_rarely_as_promised(n: int) -> None:
    generator = np.random.default_rng(0)
    alarms = [Calibration(np.sort(generator.gamma(3, size=n))).threshold < generator.gamma(3) for _ in range(4000)]
    assert np.mean(alarms) == pytest.approx(1 - math.ceil(0.95 * (n + 1)) / (n + 1), abs=0.012)


@given(some_scores, st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_score_keeps_the_order_and_stays_between_0_and_1(scores: np.ndarray, one: float, other: float) -> None:
    calibration = Calibration(scores)
    low, high = sorted((one, other))
    assert 0 <= calibration.score(low) <= calibration.score(high) <= 1
    assert calibration.score(calibration.threshold) == 0.5
    assert (calibration.score(one) > 0.5) == (calibration.verdict(one) == "abnormal")


def test_the_typical_picture_scores_a_quarter() -> None:
    calibration = Calibration(np.arange(1.0, 100.0))
    assert calibration.score(50.0) == pytest.approx(0.25)
    assert calibration.score(1e9) > calibration.score(1e8)


def test_p_values_count_the_normals_that_are_as_strange() -> None:
    calibration = Calibration(np.arange(1.0, 100.0))
    assert calibration.p_value(1000.0) == 0.01
    assert calibration.p_value(0.0) == 1.0
    assert calibration.p_value(95.0) == 0.06


def test_what_few_pictures_support_is_said() -> None:
    assert Calibration(np.arange(9.0)).attainable_rate == 0.1
    assert Calibration(np.arange(9.0)).provisional
    assert not Calibration(np.arange(10.0)).provisional


def test_a_provisional_threshold_lies_above_all_ordinary_scores() -> None:
    scores = np.array([1.0, 1.1, 1.2, 1.1, 1.0])
    assert scores.max() < Calibration(np.sort(scores)).threshold < 2


def test_a_gross_outlier_is_suspected_and_ordinary_spread_is_not() -> None:
    ordinary = np.random.default_rng(0).normal(10, 1, 50)
    assert not suspects(ordinary).any()
    with_outlier = np.append(ordinary, 40.0)
    assert suspects(with_outlier).tolist() == [False] * 50 + [True]


def test_a_few_pictures_are_never_suspected_nor_more_than_a_tenth() -> None:
    few = np.append(np.ones(SUSPECTS_FROM - 2), 1000.0)
    assert not suspects(few).any()
    many = np.append(np.random.default_rng(0).normal(10, 1, 40), np.full(10, 1000.0))
    assert suspects(many).sum() == 5


rates = st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.5])


@pytest.mark.parametrize("alarm_rate", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("n", [10, 25, 120])
def test_exchangeable_normals_alarm_no_more_than_promised(n: int, alarm_rate: float) -> None:
    drawn = np.random.default_rng(7).lognormal(size=(4000, n + 1))
    alarms = [row[-1] > conformal_threshold(row[:-1], alarm_rate) for row in drawn]
    promised = max(alarm_rate, 1 / (n + 1))
    assert np.mean(alarms) <= promised + 3 * math.sqrt(promised / len(drawn))


@given(some_scores, rates)
def test_the_threshold_is_the_smallest_score_that_covers_enough(scores: np.ndarray, alarm_rate: float) -> None:
    threshold = conformal_threshold(scores, alarm_rate)
    needed = min(math.ceil((1 - alarm_rate) * (len(scores) + 1)), len(scores))
    assert (scores <= threshold).sum() >= needed
    assert (scores < threshold).sum() < needed


@pytest.mark.parametrize(("n", "alarm_rate"), [(10, 0.05), (10, 0.01), (25, 0.01), (50, 0.01)])
def test_beyond_what_few_can_promise_the_tail_is_continued(n: int, alarm_rate: float) -> None:
    drawn = np.random.default_rng(3).gamma(4, size=(20_000, n + 1))
    alarms = np.mean([row[-1] > tail_threshold(row[:-1], alarm_rate) for row in drawn])
    assert 0.5 * alarm_rate <= alarms <= 2 * alarm_rate
    assert alarms < 0.8 / (n + 1)


@given(some_scores, rates)
def test_the_tail_begins_where_the_promise_ends(scores: np.ndarray, alarm_rate: float) -> None:
    threshold = tail_threshold(scores, alarm_rate)
    assert threshold >= conformal_threshold(scores, alarm_rate)
    if alarm_rate * (len(scores) + 1) >= 1:
        assert threshold == conformal_threshold(scores, alarm_rate)


many = st.lists(st.floats(0, 1e6), min_size=ENOUGH, max_size=80)


@given(many.map(np.array), rates)
def test_enough_scores_need_no_assumption(scores: np.ndarray, alarm_rate: float) -> None:
    assert supported_threshold(scores, alarm_rate) == tail_threshold(scores, alarm_rate)


def _two_kinds(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """One normal picture in ten is of a kind that looks much stranger: as far from log-normal as it gets."""
    return generator.normal(1, 0.05, size) + 0.8 * (generator.random(size) < 0.1)


@pytest.mark.parametrize("n", [5, 9, 10, 25, 49])
@pytest.mark.parametrize(
    "draw",
    [
        lambda size, generator: generator.normal(5, 0.5, size),
        lambda size, generator: generator.lognormal(0, 0.3, size),
        lambda size, generator: 1 + generator.exponential(0.3, size),
        _two_kinds,
    ],
    ids=["normal", "log-normal", "exponential", "of two kinds"],
)
def test_few_scores_never_alarm_twice_as_often_as_asked(draw: Callable[..., np.ndarray], n: int) -> None:
    drawn = draw((4000, n + 1), np.random.default_rng(5))
    alarms = np.mean([row[-1] > supported_threshold(row[:-1], 0.05) for row in drawn])
    assert 0.025 <= alarms <= 0.1


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("alarm_rate", [0.01, 0.05, 0.2])
def test_the_first_pictures_alarm_as_often_as_asked(n: int, alarm_rate: float) -> None:
    drawn = np.random.default_rng(6).lognormal(0, 0.3, (4000, n + 1))
    alarms = np.mean([row[-1] > supported_threshold(row[:-1], alarm_rate) for row in drawn])
    assert 0.5 * alarm_rate <= alarms <= 1.5 * alarm_rate


def test_one_odd_picture_of_25_does_not_set_the_threshold_alone() -> None:
    ordinary = np.random.default_rng(2).normal(1, 0.1, 24)
    odd = np.append(ordinary, 2.0)
    assert conformal_threshold(odd, 0.05) == 2.0
    assert ordinary.max() < supported_threshold(odd, 0.05) < 1.7


@given(some_scores, rates, st.randoms(use_true_random=False))
def test_the_order_of_scores_does_not_matter(scores: np.ndarray, alarm_rate: float, random: object) -> None:
    shuffled = scores.tolist()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert conformal_threshold(np.array(shuffled), alarm_rate) == conformal_threshold(scores, alarm_rate)


@given(some_scores)
def test_who_asks_for_fewer_alarms_gets_no_lower_threshold(scores: np.ndarray) -> None:
    for rule in (conformal_threshold, supported_threshold):
        thresholds = [rule(scores, rate) for rate in (0.5, 0.2, 0.1, 0.05, 0.01)]
        assert all(lower <= higher for lower, higher in pairwise(thresholds))


@given(
    st.lists(st.floats(0, 1e6), min_size=99, max_size=120).map(lambda values: np.sort(np.array(values))),
    st.floats(0, 1e6),
)
def test_a_picture_called_abnormal_has_a_p_value_within_the_alarm_rate(scores: np.ndarray, raw_score: float) -> None:
    calibration = Calibration(scores, 0.05)
    if calibration.verdict(raw_score) == "abnormal":
        assert calibration.p_value(raw_score) <= 0.05


@given(some_scores, st.floats(0, 1e6))
def test_p_values_count_by_hand(scores: np.ndarray, raw_score: float) -> None:
    expected = (1 + sum(score >= raw_score for score in scores)) / (len(scores) + 1)
    assert Calibration(scores).p_value(raw_score) == pytest.approx(expected)


def test_the_threshold_itself_is_still_normal() -> None:
    calibration = Calibration(np.arange(1.0, 100.0))
    assert calibration.verdict(calibration.threshold) == "normal"
    assert calibration.verdict(np.nextafter(calibration.threshold, np.inf)) == "abnormal"


def test_no_two_pictures_lose_their_order_however_strange() -> None:
    calibration = Calibration(np.linspace(1, 2, 30))
    scores = [calibration.score(raw_score) for raw_score in (0, 0.5, 1, 1.9, 2, 2.1, 10, 100, 1e4, 1e6)]
    assert all(lower < higher for lower, higher in pairwise(scores))
    assert 0 < scores[0] < scores[-1] < 1


@pytest.mark.parametrize("value", [0.0, 1e-12, 3.0, 1e12])
@pytest.mark.parametrize("n", [2, 9, 10, 40])
def test_equal_scores_are_no_harm(n: int, value: float) -> None:
    calibration = Calibration(np.full(n, value))
    assert calibration.verdict(value) == "normal"
    for raw_score in (0.0, value, 2 * value + 1):
        assert 0 <= calibration.score(raw_score) <= 1


@pytest.mark.parametrize("n", [49, 50, 59, 60, 61])
def test_scores_tell_normals_apart_where_half_of_them_may_alarm(n: int) -> None:
    scores = np.sort(np.random.default_rng(3).lognormal(2.5, 0.2, n))
    calibration = Calibration(scores, 0.5)
    seen = [calibration.score(score) for score in np.quantile(scores, [0.05, 0.25, 0.75, 0.95])]
    assert all(later - sooner > 0.02 for sooner, later in pairwise(seen))
    assert 0.1 < seen[0] < seen[-1] < 0.9


def test_the_threshold_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calibration = Calibration(np.linspace(1, 2, 30))
    calibration.score(1.5)
    monkeypatch.setattr("model.calibration.supported_threshold", lambda *_: pytest.fail("it is found again"))
    assert calibration.verdict(1.5) == "normal"
    assert calibration.score(1.6) < 0.5


@pytest.mark.parametrize("n", [2, 5, 9])
def test_a_provisional_threshold_follows_the_rate(n: int) -> None:
    scores = np.random.default_rng(4).lognormal(0, 0.3, n)
    strict, usual, loose = (Calibration(np.sort(scores), rate).threshold for rate in (0.01, 0.05, 0.2))
    assert loose < usual < strict


@pytest.mark.parametrize("n", [20, 50, 200])
def test_ordinary_spread_is_hardly_ever_suspected(n: int) -> None:
    generator = np.random.default_rng(11)
    assert sum(suspects(generator.normal(10, 1, n)).sum() for _ in range(200)) <= 200 * n / 1000


@given(st.lists(st.floats(0, 1e6), max_size=80).map(np.array))
def test_suspects_are_few_and_the_strangest(scores: np.ndarray) -> None:
    marked = suspects(scores)
    assert marked.shape == scores.shape
    assert marked.sum() <= len(scores) / 10
    if marked.any():
        assert scores[marked].min() >= scores[~marked].max()


def test_nothing_is_suspected_for_being_too_ordinary() -> None:
    scores = np.append(np.random.default_rng(0).normal(100, 1, 40), 0.0)
    assert not suspects(scores).any()


def test_suspicion_does_not_depend_on_the_unit() -> None:
    scores = np.append(np.random.default_rng(0).normal(10, 1, 40), [30.0, 16.0])
    assert suspects(scores).tolist() == suspects(scores * 1000).tolist()
    assert suspects(scores).any()


def test_at_ten_pictures_suspicion_begins() -> None:
    scores = np.append(np.random.default_rng(0).normal(10, 1, SUSPECTS_FROM - 1), 100.0)
    assert suspects(scores).tolist() == [False] * (SUSPECTS_FROM - 1) + [True]
