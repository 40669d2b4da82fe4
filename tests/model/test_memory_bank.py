from __future__ import annotations

import torch

from model.memory_bank import MemoryBank, build_bank, greedy_coreset


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
    bank = build_bank(points(20), torch.arange(20), 100, seed=0)
    assert sorted(bank.owners.tolist()) == list(range(20))
    assert torch.allclose(bank.rows[bank.owners.argsort()], points(20))
