from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.splits import Split, split_of


def test_about_70_15_15() -> None:
    shares = Counter(split_of(f"task {number}", has_abnormal=False) for number in range(20_000))
    assert shares[Split.TRAIN] / 20_000 == pytest.approx(0.70, abs=0.015)
    assert shares[Split.DEV] / 20_000 == pytest.approx(0.15, abs=0.015)
    assert shares[Split.TEST] / 20_000 == pytest.approx(0.15, abs=0.015)


def test_abnormal_groups_are_never_trained_on() -> None:
    shares = Counter(split_of(f"task {number}", has_abnormal=True) for number in range(20_000))
    assert shares[Split.TRAIN] == 0
    assert shares[Split.DEV] / 20_000 == pytest.approx(0.5, abs=0.015)


def test_a_side_is_for_good() -> None:
    known = {"task 1": "train", "task 2": "test", "task 10": "train", "group A7": "dev"}
    assert {key: split_of(key, has_abnormal=False).value for key in known} == known


def test_half_a_character_in_a_key_is_no_harm() -> None:
    assert split_of("part \ud83d", has_abnormal=False) in Split


def test_a_group_on_dev_or_test_stays_there_when_an_abnormal_joins() -> None:
    for number in range(1000):
        before = split_of(f"group {number}", has_abnormal=False)
        if before is not Split.TRAIN:
            assert split_of(f"group {number}", has_abnormal=True) is before


@given(st.text())
def test_any_name_has_a_side_and_an_abnormal_one_is_not_train(key: str) -> None:
    assert split_of(key, has_abnormal=False) in set(Split)
    assert split_of(key, has_abnormal=True) in {Split.DEV, Split.TEST}


def test_neighbouring_names_do_not_share_a_side() -> None:
    sides = [split_of(f"task {number}", has_abnormal=False) is Split.TRAIN for number in range(10_000)]
    together = sum(one and other for one, other in pairwise(sides))
    assert together / 10_000 == pytest.approx(0.7**2, abs=0.02)
