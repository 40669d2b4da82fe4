from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.probability import Probability, fit_probability


def confirmed(normals: int, abnormals: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose distance from the threshold is normal around -1 and 1: the true curve has slope 2."""
    generator = np.random.default_rng(seed)
    x = np.concatenate([generator.normal(-1, 1, normals), generator.normal(1, 1, abnormals)])
    return 0.5 + 0.5 * x / (1 + abs(x)), np.arange(normals + abnormals) >= normals


def test_it_finds_the_true_curve() -> None:
    curve = fit_probability(*confirmed(5000, 5000))
    assert curve is not None
    assert curve.slope == pytest.approx(2, rel=0.1)
    assert curve(0.5) == pytest.approx(0.5, abs=0.03)


def test_it_is_as_often_right_as_it_says() -> None:
    curve = fit_probability(*confirmed(60, 60))
    scores, abnormal = confirmed(4000, 4000, seed=1)
    assert curve is not None
    said = np.array([curve(score) for score in scores])
    for low in (0.0, 0.25, 0.5, 0.75):
        among = (said >= low) & (said < low + 0.25)
        assert abnormal[among].mean() == pytest.approx(said[among].mean(), abs=0.1)


@pytest.mark.parametrize(("normals", "abnormals"), [(19, 40), (40, 19), (0, 0)])
def test_too_few_give_none(normals: int, abnormals: int) -> None:
    assert fit_probability(*confirmed(normals, abnormals)) is None


def test_scores_that_tell_nothing_give_none() -> None:
    scores, abnormal = confirmed(40, 40)
    assert fit_probability(scores, ~abnormal) is None


def test_a_perfect_order_is_no_certainty() -> None:
    curve = fit_probability(np.linspace(0.2, 0.8, 40), np.arange(40) >= 20)
    assert curve is not None
    assert 0.8 < curve(0.8) < 1


@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999), st.floats(0.01, 50), st.floats(-20, 20))
def test_a_stranger_picture_is_no_less_probably_abnormal(
    one: float, other: float, slope: float, intercept: float
) -> None:
    low, high = sorted((one, other))
    curve = Probability(slope, intercept)
    assert 0 <= curve(low) <= curve(high) <= 1
