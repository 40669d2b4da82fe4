"""Which pictures show the same part: those that people named alike, and those that are nearly the same place by place.

Frames of one film, or a picture and the same one saved anew, make each other look known, and the threshold far too low.
Means of whole pictures do not tell them from other pictures of a regular product; what lies where does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage, to_tree
from scipy.spatial.distance import squareform
from torch import Tensor

FEWEST_PARTS = 5
"""Fewer do not tell what a new one is like."""
FIELDS = 5
NEAR = 0.6
"""Share of the distance to other parts within which pictures show the same one.

Measured on three sets: at least 0.62 between pictures of different parts; 0.16 to 0.36 in the median between frames of
films and pictures saved anew, 0.53 at most."""
APART_FROM_OTHERS = 0.65
"""Share of the distance to the nearest other picture within which those of one part lie.

Parts that lie in any direction have near ones too, but no gap around them: 0.85 or more where parts of screws were
counted as one, 0.12 to 0.56 for frames."""
FEWEST_GUESSED = 0.25
"""Share of the pictures; fewer hardly move the threshold: of those asked for, false alarms become a third more."""
UNLIKE = 1e6
SMALLEST = 1e-6


def places(layers: Sequence[Tensor]) -> Tensor:
    """What a picture shows where: the mean patch embeddings of FIELDS x FIELDS fields, layer by layer.

    layers: its patch embeddings, float16 (h, w, C) each -> float32 (D,)
    """
    fields = (F.adaptive_avg_pool2d(layer.float().movedim(-1, 0), FIELDS) for layer in layers)
    return torch.cat([field.flatten() for field in fields])


def shown_parts(shown: Tensor, named: Sequence[str | None]) -> list[int]:
    """The number of the part that each picture shows, counted from 0 by first appearance.

    shown: float32 (n, D), `places` of each. named: what people call the part of each, None where they do not.
    Pictures named alike are one part, and pictures named otherwise never are, however alike; an unnamed one counts with
    a part if it is near all its pictures and no others. Where fewer than FEWEST_PARTS were left, names say nothing, and
    a guessed part has no more than one FEWEST_PARTS-th of all pictures. Nothing is guessed of a few pictures among
    many.
    """
    distances, unlike = relative_distances(shown), UNLIKE * (1 - np.eye(len(named)))
    for names in (named, [None] * len(named)):
        parts = _linked(_by_names(distances, names))
        if guessed(parts, names) < FEWEST_GUESSED * len(parts):
            parts = _linked(_by_names(unlike, names))
        if len(set(parts)) >= FEWEST_PARTS:
            return parts
    return list(range(len(named)))


def guessed(parts: Sequence[int], named: Sequence[str | None]) -> int:
    """How many of the unnamed pictures share their part."""
    pictures = Counter(parts)
    return sum(name is None and pictures[part] > 1 for part, name in zip(parts, named, strict=True))


def relative_distances(shown: Tensor) -> NDArray[np.float64]:
    """Of each two pictures, in units of what lies between pictures of different parts: float32 (n, D) -> (n, n).

    With at least FEWEST_PARTS equal parts, the n / FEWEST_PARTS-th nearest shows another one than the picture itself;
    of two pictures' units the smaller counts. So a kind of product that many pictures show is not taken for one part.
    Below 2 FEWEST_PARTS pictures that is the nearest, and nothing is near.
    """
    n = len(shown)
    if n < 2:
        return np.zeros((n, n))
    centred = shown - shown.mean(dim=0)
    distances = torch.cdist(centred, centred).double().cpu().numpy().clip(SMALLEST)
    np.fill_diagonal(distances, np.inf)
    units = np.sort(distances, axis=1)[:, max(1, n // FEWEST_PARTS) - 1]
    np.fill_diagonal(distances, 0)
    distances = np.maximum(distances, distances.T)  # they may differ by rounding
    relative: NDArray[np.float64] = distances / np.minimum(units[:, None], units)
    return relative


def _by_names(distances: NDArray[np.float64], named: Sequence[str | None]) -> NDArray[np.float64]:
    """The same, none between pictures named alike, and UNLIKE between pictures named otherwise."""
    names = np.array([name or "" for name in named])
    both = (names != "")[:, None] & (names != "")
    return np.where(both, np.where(names[:, None] == names, 0, UNLIKE), distances)


def _linked(distances: NDArray[np.float64]) -> list[int]:
    """The largest groups that show one part each, among those of complete linkage: a chain of near ones is none."""
    n = len(distances)
    if n < 2:
        return list(range(n))
    parts, groups = np.arange(n), [to_tree(linkage(squareform(distances, checks=False), "complete"))]
    while groups:
        group = groups.pop()
        members = group.pre_order()
        if group.dist <= NEAR and _stand_apart(distances[members], members, group.dist):
            parts[members] = min(members)
        else:
            groups += [group.left, group.right]
    numbers = {part: number for number, part in enumerate(dict.fromkeys(parts.tolist()))}
    return [numbers[part] for part in parts.tolist()]


def _stand_apart(distances: NDArray[np.float64], members: Sequence[int], widest: float) -> bool:
    """Whether there is a gap around pictures: float64 (m, n), and the largest distance between two of them."""
    return widest <= APART_FROM_OTHERS * float(np.delete(distances, members, axis=1).min(initial=np.inf))
