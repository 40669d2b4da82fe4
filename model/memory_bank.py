"""The memory of what is normal: a coreset of patch embeddings, and what of a patch it cannot explain.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection" (2022). Greedy k-center selection:
Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach" (2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.devices import CPU

SELECTION_DIMS = 64
POOL_FACTOR = 10
LEADING = 512
"""Rows among which the next ones are chosen at once: hundreds at a time, at the price of comparing each two of them."""
SAME = 1e-6
"""Squared distance up to which patches are the same but for rounding, as a share of the largest squared length."""
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
        squares = (self.rows * self.rows).sum(dim=1)  # (M,)
        if hidden is not None:
            squares = squares.masked_fill(hidden, torch.inf)
        nearest = torch.cat([self._nearest(chunk, squares) for chunk in _chunks(patches)])
        return (nearest + (patches * patches).sum(dim=1)).clamp_min(0).sqrt()

    def residuals(self, patches: Tensor, bandwidth: float, hidden: Tensor | None = None) -> Tensor:
        """How far each patch is from what its surroundings in the bank make of it: float32 (P, C) -> (P,).

        They make of it the mean of all rows, each weighted by exp(-|x - m|^2 / bandwidth): among many rows the noise
        of each averages out, far from all it is the nearest row. A kernel regression: Nadaraya (1964), Watson (1964).
        hidden: as in `distances`.
        """
        bias = (self.rows * self.rows).sum(dim=1) / -bandwidth  # (M,)
        if hidden is not None:
            bias = bias.masked_fill(hidden, -torch.inf)
        return torch.cat([self._residual(chunk, bias, bandwidth) for chunk in _chunks(patches)])

    def _residual(self, patches: Tensor, bias: Tensor, bandwidth: float) -> Tensor:
        closeness = torch.addmm(bias[None], patches, self.rows.T, alpha=2 / bandwidth)  # up to a term of the patch
        lengths: Tensor = torch.linalg.vector_norm(patches - closeness.softmax(dim=1) @ self.rows, dim=1)
        return lengths

    def _nearest(self, patches: Tensor, squares: Tensor) -> Tensor:
        """min over rows m of |m|^2 - 2 x.m, for each patch x -> (P,)"""
        return torch.addmm(squares[None], patches, self.rows.T, alpha=-2).amin(dim=1)


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
    nearest = _squared_distances(points, points[first]).squeeze(1)
    return torch.cat([first, _farthest(points, nearest, size - 1)])


def _farthest(points: Tensor, nearest: Tensor, size: int) -> Tensor:
    """Indices of `size` rows, each the farthest from those chosen before it: float32 (N, C) -> int64 (size,).

    nearest: float32 (N,), squared distance of each row to the nearest that was chosen already.
    """
    least = SAME * float((points * points).sum(dim=1).max())
    chosen = torch.empty(0, dtype=torch.int64, device=points.device)
    while len(chosen) < size and len(newest := _next_farthest(points, nearest, size - len(chosen), least)):
        chosen = torch.cat([chosen, newest])
        nearest = torch.minimum(nearest, _squared_distances(points, points[newest]).amin(dim=1))
    return chosen


def _next_farthest(points: Tensor, nearest: Tensor, most: int, least: float) -> Tensor:
    """The next rows to choose, in turn: of the LEADING farthest, until another row may be farther than they are.

    Distances only fall while rows are chosen, so that the others need not be measured again for each of them.
    nearest: float32 (N,), squared distance of each row to the nearest chosen one; rows within `least` are the same.
    """
    reach, leading = nearest.topk(min(LEADING, len(nearest)))
    distances, between = reach.cpu().numpy(), _squared_distances(points[leading], points[leading]).cpu().numpy()
    others = distances.min()
    picked: list[int] = []
    while len(picked) < most:
        farthest = int(distances.argmax())
        if distances[farthest] <= least or (picked and distances[farthest] < others):
            break
        picked.append(farthest)
        np.minimum(distances, between[farthest], out=distances)
    return leading[picked]


def _squared_distances(points: Tensor, others: Tensor) -> Tensor:
    """float32 (N, C), (K, C) -> (N, K)"""
    lengths, squares = (points * points).sum(dim=1), (others * others).sum(dim=1)
    return torch.addmm(squares[None], points, others.T, alpha=-2) + lengths[:, None]


def _chunks(patches: Tensor) -> tuple[Tensor, ...]:
    return torch.split(patches, CHUNK if patches.device.type == "cpu" else CHUNK_ON_GPU)
