from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.parts import FEWEST_PARTS, FIELDS, NEAR, places, relative_distances, shown_parts

seeds = st.integers(0, 10_000)


def scattered(count: int, seed: int, *, dimensions: int = 200) -> Tensor:
    """Pictures of different parts: in so many dimensions all about as far from one another."""
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))


def filmed(parts: int, frames: int, seed: int, *, apart: float = 0.1) -> Tensor:
    """`frames` pictures of each part, one after another; `apart`: in units of what lies between parts."""
    shown = scattered(parts, seed).repeat_interleave(frames, dim=0)
    return shown + apart * scattered(len(shown), seed + 1)


def unnamed(shown: Tensor) -> list[int]:
    return shown_parts(shown, [None] * len(shown))


def together(parts: Sequence[int]) -> set[frozenset[int]]:
    """Which pictures show the same part."""
    return {frozenset(place for place, one in enumerate(parts) if one == part) for part in parts}


@settings(deadline=None)
@given(seeds, st.integers(0, 40))
def test_pictures_of_different_parts_are_none_of_another(seed: int, count: int) -> None:
    assert unnamed(scattered(count, seed)) == list(range(count))


@settings(deadline=None)
@given(seeds, st.integers(FEWEST_PARTS, 12), st.integers(2, 4))
def test_frames_of_one_part_are_one_part(seed: int, parts: int, frames: int) -> None:
    assert unnamed(filmed(parts, frames, seed)) == [place // frames for place in range(parts * frames)]


@pytest.mark.parametrize(("twins", "found"), [(4, False), (5, True), (15, True)])
def test_twins_are_found_where_they_are_many_enough_to_matter(twins: int, found: bool) -> None:
    shown = torch.cat([scattered(30, 0), scattered(30, 0)[:twins] + 0.1 * scattered(twins, 1)])
    assert unnamed(shown) == [*range(30), *(range(twins) if found else range(30, 30 + twins))]


@settings(deadline=None)
@given(seeds, st.floats(0.01, 100), st.permutations(range(24)))
def test_neither_order_nor_scale_matters(seed: int, scale: float, order: list[int]) -> None:
    shown = filmed(8, 3, seed, apart=0.3)
    moved = shown_parts(scale * shown[order] + 5, [None] * 24)
    assert {frozenset(order[place] for place in group) for group in together(moved)} == together(unnamed(shown))


@settings(deadline=None)
@given(seeds, st.integers(2, 60), st.integers(1, 3), st.floats(0, 2))
def test_no_guessed_part_has_more_than_its_share(seed: int, count: int, dimensions: int, apart: float) -> None:
    """However the pictures lie: along a line or in a heap too."""
    shown = scattered(count, seed, dimensions=dimensions).round()
    shown += apart * scattered(count, seed + 1, dimensions=dimensions)
    parts = unnamed(shown)
    assert max(Counter(parts).values()) <= max(1, count // FEWEST_PARTS)
    assert list(dict.fromkeys(parts)) == list(range(len(set(parts))))


def test_a_chain_of_near_pictures_is_no_part() -> None:
    """A product on a belt: each picture is near the next, the first far from the last."""
    shown = torch.arange(60.0)[:, None]
    assert max(Counter(unnamed(shown)).values()) < 60 // FEWEST_PARTS


@pytest.mark.parametrize("count", [40, 120, 300])
def test_parts_that_lie_in_any_direction_are_different_parts(count: int) -> None:
    """Screws as they fall: many are near another one, but no few are apart from the rest."""
    angles = 2 * torch.pi * torch.rand(count, 1, generator=torch.Generator().manual_seed(0))
    waves = angles * torch.arange(1, 7) + 2 * torch.pi * torch.rand(6, generator=torch.Generator().manual_seed(1))
    shown = waves.cos() @ scattered(6, 2) + 0.5 * scattered(count, 3)
    assert (relative_distances(shown) < NEAR).sum() > count * 3 / 2
    assert unnamed(shown) == list(range(count))


def test_a_kind_of_product_is_no_part() -> None:
    """Kinds far from one another, ten pictures each."""
    for kinds in (2, 4):
        shown = 20 * scattered(kinds, 0).repeat_interleave(10, dim=0) + scattered(10 * kinds, 1)
        assert unnamed(shown) == list(range(10 * kinds))


def test_below_twice_the_fewest_parts_nothing_is_guessed() -> None:
    assert unnamed(filmed(3, 3, 0)) == list(range(9))
    assert len(set(unnamed(filmed(5, 2, 0)))) == 5


def test_names_win() -> None:
    shown = filmed(8, 3, 0)
    own = [f"part {place}" for place in range(24)]
    assert shown_parts(shown, own) == list(range(24))
    alike = [f"part {place % 6}" for place in range(24)]
    assert shown_parts(shown, alike) == [place % 6 for place in range(24)]


def test_an_unnamed_picture_counts_with_the_named_part_that_it_is_near() -> None:
    shown = filmed(8, 3, 0)
    named: list[str | None] = ["first", "first", None, "second", "third", None] + 18 * [None]
    parts = shown_parts(shown, named)
    assert parts[:3] == [0, 0, 0]
    assert len({*parts[3:6]}) == 3  # people say that two differ; the third is as near to either
    assert together(parts[6:]) == {frozenset(range(start, start + 3)) for start in range(0, 18, 3)}


def test_names_of_too_few_parts_say_nothing() -> None:
    assert unnamed(filmed(8, 3, 0)) == shown_parts(filmed(8, 3, 0), [f"film {place % 4}" for place in range(24)])
    assert shown_parts(scattered(8, 0), ["one"] * 8) == list(range(8))


def test_where_all_pictures_are_the_same_none_is_nearer_than_the_others() -> None:
    assert relative_distances(torch.zeros(12, 3)).tolist() == (1 - torch.eye(12)).tolist()


def test_distances_are_in_units_of_what_lies_between_parts() -> None:
    distances = relative_distances(filmed(6, 3, 0))
    within = distances[0, 1]
    assert within < NEAR / 2
    assert distances[0, 3] == pytest.approx(1, abs=0.25)


def test_places_tell_what_lies_where() -> None:
    left, right = torch.zeros(2, 10, 10, 3)
    left[:, :5], right[:, 5:] = 1, 1
    assert left.mean() == right.mean()
    assert places([left.half()]).shape == (3 * FIELDS**2,)
    assert not torch.equal(places([left.half()]), places([right.half()]))
    assert len(places([torch.zeros(3, 3, 8).half(), torch.zeros(20, 20, 2).half()])) == 10 * FIELDS**2
