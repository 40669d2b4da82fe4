"""The memory of what is normal: a coreset of patch embeddings, and what of a patch it cannot explain.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection" (2022). Greedy k-center selection:
Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach" (2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from model.devices import CPU

SELECTION_DIMS = 64
POOL_FACTOR = 10
LEADING = 512
"""Rows among which the next ones are chosen at once: hundreds at a time, at the price of comparing each two of them."""
SAME = 1e-6
"""Squared distance up to which patches are the same but for rounding, as a share of the largest squared length."""
NEGLIGIBLE = 1e-30
"""A smaller weight counts as none: with those near the smallest float32 a processor computes many times as long."""
CHUNK = 512
"""Patches that are compared at once: their distances to all rows still fit into a processor's cache."""
CHUNK_ON_GPU = 8192
"""The same on a GPU, which smaller ones would not keep busy; 64 MB of distances."""


@dataclass(frozen=True, slots=True)
class MemoryBank:
    """rows: float32 (M, C), patch embeddings of normal pictures. owners: int64 (M,), the physical part of each row.

    Patches to compare must be where the rows are, on the CPU or on a GPU.
    """

    rows: Tensor
    owners: Tensor
    _comparing: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_comparing", _comparing(self.rows))

    def to(self, device: torch.device) -> MemoryBank:
        """The same bank there."""
        return MemoryBank(self.rows.to(device), self.owners.to(device))

    def of(self, parts: Sequence[int]) -> MemoryBank:
        """Only what was learned of these parts."""
        wanted = torch.isin(self.owners, torch.tensor(parts, device=self.owners.device))
        return MemoryBank(self.rows[wanted], self.owners[wanted])

    def distances(self, patches: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Euclidean distance of each patch to its nearest row: float32 (P, C) -> (P,).

        hidden: bool (M,), rows to leave out, as if their pictures had never been seen.
        """
        return _squared_to_nearest(patches, _without(self._comparing, hidden)).sqrt()

    def residuals(self, patches: Tensor, bandwidth: float, hidden: Tensor | None = None) -> Tensor:
        """How far each patch is from what its surroundings in the bank make of it: float32 (P, C) -> (P,).

        They make of it the mean of all rows, each weighted by exp(-|x - m|^2 / bandwidth): among many rows the noise
        of each averages out, far from all it is the nearest row. A kernel regression: Nadaraya (1964), Watson (1964).
        hidden: as in `distances`.
        """
        comparing = _without(self._comparing, hidden)
        closeness = (chunk @ comparing for chunk in _chunks(_with_one(patches) / -bandwidth))  # but for |x|^2
        weights = (each.softmax(dim=1) for each in closeness)
        explained = torch.cat([torch.where(each > NEGLIGIBLE, each, 0.0) @ self.rows for each in weights])
        lengths: Tensor = torch.linalg.vector_norm(patches - explained, dim=1)
        return lengths


def build_bank(
    pictures: Sequence[Tensor],
    owners: Sequence[int],
    size: int,
    *,
    seed: int,
    device: torch.device = CPU,
) -> MemoryBank:
    """Keeps `size` of all patches so that every patch has a kept one near: float (N, C) and an owner for each picture.

    Fewer where no more of them differ. The patches are first thinned at random to a few times `size`, which keeps
    the selection's cost and memory the same however many pictures there are.

    device: where to select, and where the bank is.
    """
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([len(patches) for patches in pictures])
    pool = torch.randperm(int(lengths.sum()), generator=generator)[: POOL_FACTOR * size]
    patches = _gather(pictures, lengths, pool).to(device)
    chosen = greedy_coreset(patches, size, generator)
    owner_of = torch.tensor(owners).repeat_interleave(lengths)[pool].to(device)
    return MemoryBank(patches[chosen].contiguous(), owner_of[chosen].contiguous())


def _gather(pictures: Sequence[Tensor], lengths: Tensor, wanted: Tensor) -> Tensor:
    """The patches of these numbers, counted through all pictures: int64 (P,) -> float32 (P, C)"""
    starts = lengths.cumsum(0) - lengths
    ascending, order = wanted.sort()
    picture_of = torch.searchsorted(starts, ascending, right=True) - 1
    of_each = picture_of.bincount(minlength=len(pictures)).tolist()
    inside = torch.split(ascending - starts[picture_of], of_each)
    found = torch.empty(len(wanted), pictures[0].shape[1])
    found[order] = torch.cat([patches[rows] for patches, rows in zip(pictures, inside, strict=True)]).float()
    return found


def extend_bank(bank: MemoryBank, patches: Tensor, owner: int, size: int) -> MemoryBank:
    """Also keeps `size` of one more picture's patches, those farthest from all kept ones: float32 (N, C)."""
    chosen = _farthest(patches, bank.distances(patches).square(), size)
    rows = torch.cat([bank.rows, patches[chosen]])
    return MemoryBank(rows, torch.cat([bank.owners, torch.full((len(chosen),), owner)]))


def greedy_coreset(patches: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Indices of `size` rows, each the farthest from those before it: float32 (N, C) -> int64 (size,).

    Fewer where no more of them differ. Distances are taken after a random projection to SELECTION_DIMS, which keeps
    them nearly (Johnson and Lindenstrauss, 1984).
    """
    (n, channels), device = patches.shape, patches.device
    if n <= size:
        return torch.arange(n, device=device)
    points = patches
    if channels > SELECTION_DIMS:
        projection = torch.randn(channels, SELECTION_DIMS, generator=generator) / SELECTION_DIMS**0.5
        points = patches @ projection.to(device)
    first = torch.randint(n, (1,), generator=generator).to(device)
    nearest = _squared_to_nearest(points, _comparing(points[first]))
    return torch.cat([first, _farthest(points, nearest, size - 1)])


def _farthest(points: Tensor, nearest: Tensor, size: int) -> Tensor:
    """Indices of `size` rows, each the farthest from those chosen before it: float32 (N, C) -> int64 (size,).

    nearest: float32 (N,), squared distance of each row to the nearest that was chosen already.
    """
    least = SAME * float((points * points).sum(dim=1).max())
    chosen = torch.empty(0, dtype=torch.int64, device=points.device)
    while len(chosen) < size and len(newest := _next_farthest(points, nearest, size - len(chosen), least)):
        chosen = torch.cat([chosen, newest])
        nearest = torch.minimum(nearest, _squared_to_nearest(points, _comparing(points[newest])))
    return chosen


def _next_farthest(points: Tensor, nearest: Tensor, most: int, least: float) -> Tensor:
    """The next rows to choose, in turn: of the LEADING farthest, until another row may be farther than they are.

    Distances only fall while rows are chosen, so that the others need not be measured again for each of them.
    nearest: float32 (N,), squared distance of each row to the nearest chosen one; rows within `least` are the same.
    """
    reach, leading = nearest.topk(min(LEADING, len(nearest)))
    among = points[leading]
    distances, between = reach.cpu().numpy(), torch.cdist(among, among).square().cpu().numpy()
    others = distances.min()
    picked: list[int] = []
    while len(picked) < most:
        farthest = int(distances.argmax())
        if distances[farthest] <= least or (picked and distances[farthest] < others):
            break
        picked.append(farthest)
        np.minimum(distances, between[farthest], out=distances)
    return leading[picked]


def _comparing(rows: Tensor) -> Tensor:
    """What makes |m|^2 - 2 x.m of `_with_one` of patches x, for each row m: float32 (M, C) -> (C + 1, M)"""
    return torch.cat([-2 * rows, (rows * rows).sum(dim=1, keepdim=True)], dim=1).T.contiguous()


def _with_one(patches: Tensor) -> Tensor:
    """float32 (P, C) -> (P, C + 1), the last of each 1"""
    return F.pad(patches, (0, 1), value=1.0)


def _without(comparing: Tensor, hidden: Tensor | None) -> Tensor:
    """The same with some rows infinitely far away."""
    if hidden is None:
        return comparing
    return torch.cat([comparing[:-1], comparing[-1:].masked_fill(hidden, torch.inf)])


def _squared_to_nearest(patches: Tensor, comparing: Tensor) -> Tensor:
    """float32 (P, C), `_comparing` of rows -> (P,)"""
    nearest = torch.cat([(chunk @ comparing).amin(dim=1) for chunk in _chunks(_with_one(patches))])
    return (nearest + (patches * patches).sum(dim=1)).clamp_min(0)


def _chunks(patches: Tensor) -> tuple[Tensor, ...]:
    return torch.split(patches, CHUNK if patches.device.type == "cpu" else CHUNK_ON_GPU)
