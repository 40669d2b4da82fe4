from __future__ import annotations

import pytest

from model.prediction import Verdict, explain
from model.regions import Region


@pytest.mark.parametrize(
    ("verdict", "more_unusual", "sentence"),
    [
        (Verdict.NORMAL, 0, "Looks like the 12 normal pictures, though none of them is this unusual."),
        (Verdict.NORMAL, 1, "Looks like the 12 normal pictures: 1 of them is this unusual."),
        (Verdict.NORMAL, 12, "Looks like the 12 normal pictures: 12 of them are this unusual."),
        (Verdict.ABNORMAL, 0, "Unlike the 12 normal pictures as a whole: none of them is this unusual."),
        (Verdict.ABNORMAL, 2, "Unlike the 12 normal pictures as a whole: 2 of them are this unusual."),
    ],
)
def test_the_reason_counts_pictures(verdict: Verdict, more_unusual: int, sentence: str) -> None:
    assert explain(verdict, (more_unusual + 1) / 13, (), 12) == sentence


@pytest.mark.parametrize(
    ("places", "sentence"),
    [
        (1, "The most unusual place is at the bottom left."),
        (2, "The most unusual place is at the bottom left; there is 1 other."),
        (4, "The most unusual place is at the bottom left; there are 3 others."),
    ],
)
def test_the_reason_tells_the_strongest_place_and_counts_the_others(places: int, sentence: str) -> None:
    regions = tuple(Region(0, 0, 1, 1, (0.1, 0.9), 2.0 - place, 0.1, ()) for place in range(places))
    assert explain(Verdict.ABNORMAL, 1 / 13, regions, 12).endswith(sentence)
