"""What the detector says about one picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from model.regions import Map, Region


class Verdict(StrEnum):
    NORMAL = "normal"
    ABNORMAL = "abnormal"


@dataclass(frozen=True, slots=True)
class Prediction:
    """A verdict on one picture, and why.

    score: in (0, 1), 0.5 at the threshold; raw_score: distance to the memory bank, >= 0.
    p_value: share of normal pictures at least this strange, counting the picture itself, in (0, 1].
    anomaly_map: float32 (h, w), patch distances over the whole picture.
    pixel_threshold: the distance above which a place counts as anomalous.
    regions: the anomalous places, largest first; empty when the verdict is normal.
    nearest_normal: name of the training picture most like this one.
    width, height: pixels of the upright picture.
    """

    score: float
    raw_score: float
    p_value: float
    verdict: Verdict
    anomaly_map: Map = field(repr=False)
    pixel_threshold: float
    regions: tuple[Region, ...]
    nearest_normal: str
    reason: str
    width: int
    height: int


def explain(verdict: Verdict, p_value: float, regions: tuple[Region, ...], normals: int) -> str:
    """One sentence in plain words on why a picture got its verdict."""
    count = round(p_value * (normals + 1)) - 1  # the p-value counts the picture itself
    others = _how_many(count)
    if verdict is Verdict.NORMAL:
        return f"Looks like the {normals} normal pictures{':' if count else ', though'} {others} this unusual."
    if not regions:
        return f"Unlike the {normals} normal pictures as a whole: {others} this unusual."
    return f"Unlike the {normals} normal pictures: {others} this unusual. {_places(regions)}"


def _how_many(count: int) -> str:
    if count == 0:
        return "none of them is"
    return "1 of them is" if count == 1 else f"{count} of them are"


def _places(regions: tuple[Region, ...]) -> str:
    strongest = max(regions, key=lambda region: region.strength)
    others = len(regions) - 1
    more = "" if others == 0 else "; there is 1 other" if others == 1 else f"; there are {others} others"
    return f"The most unusual place is {_where(*strongest.peak)}{more}."


def _where(x: float, y: float) -> str:
    row = ("at the top", "in the middle", "at the bottom")[min(2, int(3 * y))]
    column = ("left", "", "right")[min(2, int(3 * x))]
    if not column:
        return row
    return f"{row} {column}" if row != "in the middle" else f"in the middle on the {column}"
