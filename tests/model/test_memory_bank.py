from __future__ import annotations

import pytest
import torch

from model.memory_bank import LEADING, MemoryBank, build_bank, greedy_coreset


def points(n: int, channels: int = 100) -> torch.Tensor:
    return torch.randn(n, channels, generator=torch.Generator().manual_seed(3))


def test_distances_are_to_the_nearest_row() -> None:
    rows, patches = points(50), points(80) + 0.5
    bank = MemoryBank(rows, torch.arange(50))
    assert torch.allclose(bank.distances(patches), torch.cdist(patches, rows).amin(dim=1), atol=1e-3)


def test_hidden_rows_do_not_exist() -> None:
    rows = points(50)
    owners = torch.arange(50) // 10
    bank = MemoryBank(rows, owners)
    expected = torch.cdist(rows, rows[owners != 2]).amin(dim=1)
    assert torch.allclose(bank.distances(rows, hidden=owners == 2), expected, atol=1e-3)


def test_a_coreset_is_distinct_and_the_same_every_time() -> None:
    patches = points(500)
    first = greedy_coreset(patches, 60, torch.Generator().manual_seed(0))
    assert len(set(first.tolist())) == 60
    assert torch.equal(first, greedy_coreset(patches, 60, torch.Generator().manual_seed(0)))


def test_a_coreset_covers_better_than_chance() -> None:
    patches = torch.cat([points(900) * 0.1, points(100) + 5])
    chosen = greedy_coreset(patches, 100, torch.Generator().manual_seed(0))
    by_chance = torch.randperm(1000, generator=torch.Generator().manual_seed(0))[:100]
    gaps = [torch.cdist(patches, patches[index]).amin(dim=1).max() for index in (chosen, by_chance)]
    assert gaps[0] < gaps[1]


def test_few_patches_are_all_kept_with_their_owners() -> None:
    bank = build_bank(points(20).split(1), range(20), 100, seed=0)
    assert sorted(bank.owners.tolist()) == list(range(20))
    assert torch.allclose(bank.rows[bank.owners.argsort()], points(20))


def test_a_remembered_patch_is_no_distance_away() -> None:
    rows = points(50)
    assert MemoryBank(rows, torch.arange(50)).distances(rows).max() < 1e-2


def test_far_from_all_rows_the_nearest_explains_a_patch() -> None:
    bank = MemoryBank(points(50), torch.arange(50))
    patches = points(20) + 3
    assert torch.allclose(bank.residuals(patches, 1.0), bank.distances(patches), atol=0.1)  # of about 30


def test_with_a_narrow_kernel_the_nearest_always_does() -> None:
    bank = MemoryBank(points(50), torch.arange(50))
    patches = points(50) + 0.5 * points(150)[100:]
    assert torch.allclose(bank.residuals(patches, 1e-3), bank.distances(patches), atol=1e-2)


def test_among_many_rows_their_noise_averages_out() -> None:
    noise = points(1200)
    bank = MemoryBank(noise[:1000], torch.arange(1000))
    patches = noise[1000:]
    typical = float(bank.distances(patches).square().median())
    closer = bank.residuals(patches, 0.4 * typical) / bank.distances(patches)
    assert closer.max() < 1
    assert closer.median() < 0.9


def test_hidden_rows_explain_nothing() -> None:
    rows, owners = points(50), torch.arange(50) // 10
    whole, without = MemoryBank(rows, owners), MemoryBank(rows[owners != 2], owners[owners != 2])
    assert torch.allclose(whole.residuals(rows, 50.0, owners == 2), without.residuals(rows, 50.0), atol=1e-4)


def test_hiding_nothing_changes_nothing() -> None:
    bank = MemoryBank(points(50), torch.arange(50))
    patches = points(20) + 0.5
    assert torch.equal(bank.distances(patches, hidden=torch.zeros(50, dtype=torch.bool)), bank.distances(patches))


def test_with_all_rows_hidden_nothing_is_near() -> None:
    bank = MemoryBank(points(50), torch.zeros(50, dtype=torch.int64))
    assert bank.distances(points(5), hidden=bank.owners == 0).isinf().all()


def test_no_distance_is_negative_or_not_a_number() -> None:
    rows = points(50) * 1e-3 + 100.0
    distances = MemoryBank(rows, torch.arange(50)).distances(rows)
    assert (distances >= 0).all()


@pytest.mark.parametrize("size", [2, 10, 60])
def test_chosen_patches_lie_farther_apart_than_any_patch_from_them(size: int) -> None:
    patches = points(500, channels=8)
    chosen = patches[greedy_coreset(patches, size, torch.Generator().manual_seed(0))]
    apart = torch.cdist(chosen, chosen) + torch.eye(size) * 1e9
    assert torch.cdist(patches, chosen).amin(dim=1).max() <= apart.min() + 1e-4


def test_each_chosen_patch_was_the_farthest_in_its_turn() -> None:
    patches = points(3 * LEADING, channels=8)
    chosen = greedy_coreset(patches, LEADING, torch.Generator().manual_seed(0))
    distances = torch.cdist(patches.double(), patches[chosen].double())
    for turn in range(1, len(chosen)):
        nearest = distances[:, :turn].amin(dim=1)
        assert nearest[chosen[turn]] >= nearest.max() - 1e-4


def test_a_far_patch_is_never_forgotten() -> None:
    patches = points(500)
    patches[123] += 50.0
    for seed in range(5):
        assert 123 in greedy_coreset(patches, 10, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [20, 21, 1000])
def test_a_coreset_of_all_is_all(size: int) -> None:
    assert greedy_coreset(points(20), size, torch.Generator()).tolist() == list(range(20))


@pytest.mark.parametrize("channels", [8, 100])
def test_a_patch_is_kept_once(channels: int) -> None:
    patches = points(30, channels=channels).repeat_interleave(20, dim=0)
    chosen = greedy_coreset(patches, 100, torch.Generator().manual_seed(0))
    assert sorted((chosen // 20).tolist()) == list(range(30))
    assert len(greedy_coreset(torch.ones(50, 8), 10, torch.Generator().manual_seed(0))) == 1
    assert len(build_bank(patches.split(100), range(6), 100, seed=0).rows) == 30


def test_a_bank_depends_on_its_seed_alone() -> None:
    patches, owners = points(500).split(1), range(500)
    torch.manual_seed(1)
    first = build_bank(patches, owners, 20, seed=0)
    torch.manual_seed(2)
    assert torch.equal(build_bank(patches, owners, 20, seed=0).rows, first.rows)
    assert not torch.equal(build_bank(patches, owners, 20, seed=1).rows, first.rows)


def test_building_a_bank_leaves_the_random_numbers_of_others_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    build_bank([points(500)], [0], 20, seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_every_row_keeps_its_owner() -> None:
    patches = points(900)
    lengths = [1, 99, 300, 500]
    bank = build_bank(patches.half().split(lengths), range(4), 40, seed=0)
    assert bank.rows.shape == (40, 100)
    found = torch.cdist(bank.rows, patches).argmin(dim=1)
    assert torch.equal(torch.arange(4).repeat_interleave(torch.tensor(lengths))[found], bank.owners)
