from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.calibration import SUSPECTS_FROM, Calibration, conformal_threshold, suspects

some_scores = st.lists(st.floats(0, 1e6), min_size=2, max_size=60).map(lambda values: np.sort(np.array(values)))


def test_the_threshold_is_the_conformal_order_statistic() -> None:
    scores = np.arange(1.0, 100.0)
    assert conformal_threshold(scores, 0.05) == 95.0
    assert conformal_threshold(scores, 0.10) == 90.0
    assert conformal_threshold(scores[:10], 0.05) == 10.0


@pytest.mark.parametrize("n", [19, 39, 100, 200])
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


def test_a_chosen_threshold_rules() -> None:
    calibration = Calibration(np.arange(1.0, 100.0), chosen=10.0)
    assert calibration.threshold == 10.0
    assert calibration.verdict(11.0) == "abnormal"


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
