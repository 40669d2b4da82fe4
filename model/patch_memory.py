"""What normal pictures look like, place by place: one memory bank for each layer, fused to one anomaly map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from model.backbone import LayerWeights
from model.devices import CPU
from model.memory_bank import MemoryBank, build_bank, extend_bank

Layers = tuple[Tensor, ...]
"""A picture's patch embeddings: float16 (h, w, C) for each layer."""

Inside = Callable[[int, int], Tensor]
"""Of a map of h, w, which places count: bool (h, w)."""

Tick = Callable[[], None]
"""Called once for each picture and layer that is measured."""

PROFILE_SHRINKAGE = 20
"""So many pictures tell half of how strange normal pictures are at each place."""
SHRINKAGE_IN_PLACE = 2
"""The same where items lie one way, so that everything has its place."""
SMALLEST_UNIT = 1e-6
SMALLEST_BANDWIDTH = 1e-6
MEASURED = 10
"""So many pictures tell how far a normal patch typically is from the nearest remembered one."""


class Maps(NamedTuple):
    """How strange each place of a picture is, float32 (..., H, W) each, the size of its finest layer.

    score: tells best whether the picture is abnormal. place: tells best where. Their scales differ.
    """

    score: Tensor
    place: Tensor


@dataclass(frozen=True, slots=True)
class LayerMemory:
    """One layer's memory.

    bandwidth: of the kernel by which the bank explains a patch; 0 for the nearest row alone. unit: the distance of the
    farthest patch of the typical normal picture, by which each layer's distances are divided before they are added up;
    a spread over all patches would measure how many of them are far, and a few odd pictures would stretch it.
    """

    bank: MemoryBank
    bandwidth: float
    unit: float
    weights: LayerWeights

    def distances(self, patches: Tensor, hidden: int | None = None) -> Tensor:
        """float16 (..., h, w, C) -> float32 (..., h, w), the distance to what the bank makes of each patch, in units.

        hidden: a part whose patches to leave out, as if it had never been seen. What is found is where the bank is.
        """
        rows = patches.to(self.bank.rows.device).flatten(end_dim=-2).float()
        mask = _rows_of(self.bank, hidden)
        found = self.bank.residuals(rows, self.bandwidth, mask) if self.bandwidth else self.bank.distances(rows, mask)
        return found.reshape(patches.shape[:-1]) / self.unit


@dataclass(frozen=True, slots=True)
class PatchMemory:
    """All layers' memories, and the profile: how strange normal pictures are at each place, float32 (H, W).

    An edge or a reflection that is never twice the same raises the profile there, and costs no false alarms.
    area: bool (H, W), the places that count.
    """

    layers: tuple[LayerMemory, ...]
    profile: Tensor
    area: Tensor

    def to(self, device: torch.device) -> PatchMemory:
        """The same memory there."""
        layers = tuple(replace(memory, bank=memory.bank.to(device)) for memory in self.layers)
        return PatchMemory(layers, self.profile.to(device), self.area.to(device))

    def maps(self, layers: Layers) -> Maps:
        """How far a picture, or each of many, is from all that is normal: float16 (..., h, w, C) for each layer.

        The maps are where the memory is.
        """
        score = place = torch.zeros_like(self.profile)
        for memory, layer in zip(self.layers, layers, strict=True):
            distances = _resize(memory.distances(layer), self.profile.shape)
            score = score + memory.weights.score * distances
            place = place + memory.weights.place * distances
        return Maps((score - self.profile).clamp_min(0) * self.area, place * self.area)

    def with_picture(self, layers: Layers, part: int, learned: int, *, area: Inside) -> PatchMemory:
        """This memory and one more picture, of which each layer's bank keeps as much as of the others on average.

        part: the number of the physical part that it shows. learned: how many pictures were learned before.
        """
        memories = []
        for memory, layer in zip(self.layers, layers, strict=True):
            patches = layer[area(*layer.shape[:2])].float()
            bank = extend_bank(memory.bank, patches, part, max(1, len(memory.bank.rows) // learned))
            memories.append(replace(memory, bank=bank))
        return replace(self, layers=tuple(memories))


def remember(
    pictures: Sequence[Layers],
    altered: Sequence[Sequence[Layers]],
    parts: Sequence[int],
    *,
    area: Inside,
    rows: int,
    seed: int,
    device: torch.device = CPU,
) -> list[MemoryBank]:
    """Remembers normal pictures, at most `rows` patches of each layer.

    altered: of each picture, any number of altered ones to remember with it, as of the same part.
    parts: of each picture, the number of the physical part that it shows.
    area: tells which places of a map count; what lies outside is not remembered.
    device: where to compute, and where the banks are.
    """
    variants = ((part, one) for part, group in zip(parts, altered, strict=True) for one in group)
    owners, shown = zip(*zip(parts, pictures, strict=True), *variants, strict=True)
    banks = []
    for maps in zip(*shown, strict=True):
        inside = area(*maps[0].shape[:2])
        everywhere = bool(inside.all())
        patches = [one.flatten(0, 1) if everywhere else one[inside] for one in maps]
        banks.append(build_bank(patches, owners, rows, seed=seed, device=device))
    return banks


def measure(
    banks: Sequence[MemoryBank],
    pictures: Sequence[Layers],
    parts: Sequence[int],
    weights: Sequence[LayerWeights],
    *,
    area: Inside,
    one_way: bool,
    tick: Tick,
) -> tuple[PatchMemory, list[Maps]]:
    """Measures each remembered picture as if it were new, and makes one memory of each layer's bank.

    area: tells which places of a map count; what lies outside is not measured. one_way: whether all items lie one way.
    Returns the memory and each picture's out-of-sample maps, what was learned of its part hidden; both on the CPU.
    Hiding rows costs one search a picture instead of one coreset. The rows that remain cover a little less than a bank
    of their own would, so these maps err on the high side and false alarms on the low one.
    """
    memories = []
    score = torch.zeros(len(pictures), *_finest(pictures[0]))
    place = torch.zeros_like(score)
    whole = area(*score.shape[1:])
    for bank, maps, weight in zip(banks, zip(*pictures, strict=True), weights, strict=True):
        memory, distances = _measure(bank, maps, parts, area(*maps[0].shape[:2]), weight, tick)
        memories.append(replace(memory, bank=memory.bank.to(CPU)))
        resized = _resize(distances, score.shape[1:])
        score += weight.score * resized
        place += weight.place * resized
    total, count, shrinkage = score.sum(dim=0), len(score), SHRINKAGE_IN_PLACE if one_way else PROFILE_SHRINKAGE
    unseen = [
        Maps((own - _profile(total - own, count - 1, whole, shrinkage)).clamp_min(0) * whole, where * whole)
        for own, where in zip(score, place, strict=True)
    ]
    return PatchMemory(tuple(memories), _profile(total, count, whole, shrinkage), whole), unseen


def _measure(
    bank: MemoryBank,
    maps: Sequence[Tensor],
    parts: Sequence[int],
    inside: Tensor,
    weights: LayerWeights,
    tick: Tick,
) -> tuple[LayerMemory, Tensor]:
    """One layer's memory, and the out-of-sample distances of the pictures, float32 (n, h, w), in units."""
    bandwidth = _bandwidth(bank, maps, parts, inside, weights.kernel) if weights.kernel else 0.0
    unscaled = LayerMemory(bank, bandwidth, 1.0, weights)
    distances = torch.empty(len(maps), *maps[0].shape[:2])
    for index, (part, layer) in enumerate(zip(parts, maps, strict=True)):
        distances[index] = unscaled.distances(layer, hidden=part)
        tick()
    unit = max(float(distances[:, inside].amax(dim=1).median()), SMALLEST_UNIT)
    return LayerMemory(bank, bandwidth, unit, weights), distances / unit


def _bandwidth(bank: MemoryBank, maps: Sequence[Tensor], parts: Sequence[int], inside: Tensor, kernel: float) -> float:
    """From how far the patches of some pictures are from the nearest of other parts."""
    chosen = range(0, len(maps), max(1, len(maps) // MEASURED))
    patches = (maps[index][inside].to(bank.rows.device).float() for index in chosen)
    nearest = [bank.distances(rows, _rows_of(bank, parts[index])) for rows, index in zip(patches, chosen, strict=True)]
    return max(kernel * float(torch.cat(nearest).square().median()), SMALLEST_BANDWIDTH)


def _rows_of(bank: MemoryBank, part: int | None) -> Tensor | None:
    """Which rows to hide to measure a picture of a remembered part, bool (M,); None for one that was not learned."""
    if part is None:
        return None
    mask = bank.owners == part
    return None if bool(mask.all()) else mask  # pictures so alike that one of them stands for all


def _profile(total: Tensor, count: int, area: Tensor, shrinkage: int) -> Tensor:
    """How much stranger than elsewhere normal pictures are at each place; little of it with few pictures."""
    mean = total / count
    return (mean - mean[area].mean()) * (count / (count + shrinkage))


def _finest(layers: Layers) -> torch.Size:
    return max((layer.shape[:2] for layer in layers), key=lambda shape: shape[0])


def _resize(distances: Tensor, shape: torch.Size) -> Tensor:
    """float32 (..., h, w) -> (..., H, W)"""
    if distances.shape[-2:] == shape:
        return distances
    planes = distances.reshape(1, -1, *distances.shape[-2:])
    resized = F.interpolate(planes, size=tuple(shape), mode="bilinear", align_corners=False)
    return resized.reshape(*distances.shape[:-2], *shape)
