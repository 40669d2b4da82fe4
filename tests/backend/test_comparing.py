"""Two versions on the same pictures."""

from __future__ import annotations

from typing import Any

import pytest

from backend.comparing import changes, clearly_worse, compare


def evaluation(version: str, said: dict[int, str], learned: tuple[int, ...] = ()) -> dict[str, Any]:
    """said: by task what was predicted; tasks below ten are confirmed normal."""
    return {
        "model_version": version,
        "cases": [
            {
                "task_id": task_id,
                "confirmed": "normal" if task_id < 10 else "abnormal",
                "predicted": predicted,
                "score": 0.7 if predicted == "abnormal" else 0.3,
                "cross_fitted": task_id in learned,
            }
            for task_id, predicted in said.items()
        ],
    }


OLD = evaluation("v1", {1: "normal", 2: "abnormal", 3: "normal", 11: "abnormal"}, learned=(3,))
NEW = evaluation("v2", {1: "abnormal", 2: "normal", 3: "abnormal", 11: "normal", 12: "normal"})


def test_only_pictures_that_both_judged_and_neither_had_learned_are_compared() -> None:
    found = compare(OLD, NEW)
    assert found["compared"] == 3
    assert (found["first_right"], found["second_right"]) == (2, 1)
    assert [case["task_id"] for case in found["moved"]] == [1, 11, 2]
    assert compare(NEW, OLD)["compared"] == 3


def test_the_short_form_says_the_same() -> None:
    assert changes(OLD, NEW) == {"since": "v1", "compared": 3, "better": [2], "worse": [1, 11]}


@pytest.mark.parametrize(
    ("worse", "better", "clearly"), [(0, 0, False), (4, 0, False), (5, 0, True), (10, 3, True), (3, 10, False)]
)
def test_a_few_changes_for_the_worse_may_be_chance(worse: int, better: int, clearly: bool) -> None:
    assert clearly_worse({"worse": [*range(worse)], "better": [*range(better)]}) is clearly
