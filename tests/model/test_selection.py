from __future__ import annotations

import torch

from model.selection import representative_order


def clusters() -> torch.Tensor:
    """Three groups of 20, 15 and 10, and at the end one far from all."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]]).repeat_interleave(torch.tensor([20, 15, 10]), dim=0)
    return torch.cat([centres + torch.randn(45, 2, generator=generator), torch.tensor([[30.0, 30.0]])])


def group(index: int) -> int:
    return (index >= 20) + (index >= 35) + (index >= 45)


def test_every_group_is_shown_before_one_is_shown_twice_and_the_odd_one_is_not_first() -> None:
    first = representative_order(clusters(), 4)
    assert {group(index) for index in first} >= {0, 1, 2}
    assert group(first[0]) != 3


def test_what_is_known_already_is_not_shown_again() -> None:
    looks = clusters()
    known = looks[:20]
    first = representative_order(looks, 2, known=known)
    assert 0 not in {group(index) for index in first}


def test_each_picture_comes_once_and_all_come_in_the_end() -> None:
    assert sorted(representative_order(clusters(), 100)) == list(range(46))


def test_copies_are_no_harm() -> None:
    assert sorted(representative_order(torch.ones(5, 3), 5)) == list(range(5))
    assert representative_order(torch.ones(0, 3), 5) == []
