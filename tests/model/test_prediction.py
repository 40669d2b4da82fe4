from __future__ import annotations

import pytest

from model.prediction import Verdict, explain


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
