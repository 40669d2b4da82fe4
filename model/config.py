"""What a detector is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from model.alterations import BY_PICTURES, ORIENTATIONS, TOLERANCES
from model.area import Area
from model.backbone import BACKBONES, SPECKS, LayerWeights
from model.embedding import Embedder
from model.images import MAX_PIXELS
from model.tiling import AUTO, WHOLE, Grid, parse_tiles

MOST_ALTERED = 20
"""So many pictures are remembered altered too: enough to tell what light, focus and position do, and soon done."""
SMALLEST = 32


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """What a detector is made of. Two detectors of one config and the same pictures are equal.

    backbone: name of the frozen network. image_size: side in pixels that pictures, or their tiles, are resized to.
    tiles: ROWSxCOLUMNS of overlapping tiles, for small defects in large pictures; `auto` chooses from their size.
    bank_rows: most patch embeddings of a layer that are remembered. top_share: of the strangest patches the mean
    distance is the raw score; so many, as a share of the patches of one tile that count. alarm_rate: share of
    normal pictures that may be called abnormal. tolerance: one of TOLERANCES, how much light and focus may change.
    orientation: one of ORIENTATIONS, whether an item may lie mirrored or turned. roi, ignore: rectangles to look at
    (empty: the whole picture) and to leave out, as `model.area` reads them. seed: of the coreset selection.
    Raises ValueError, in words, for what cannot be.
    """

    backbone: str = "efficientnet_lite2"
    image_size: int = 320
    tiles: str = "1x1"
    bank_rows: int = 2000
    top_share: float = 0.005
    alarm_rate: float = 0.05
    tolerance: str = "usual"
    orientation: str = BY_PICTURES
    roi: str = ""
    ignore: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        _demand(self.image_size >= SMALLEST, "image_size", f"at least {SMALLEST}", self.image_size)
        _demand(self.bank_rows >= 1, "bank_rows", "at least 1", self.bank_rows)
        _demand(0 < self.top_share <= 1, "top_share", "more than 0 and at most 1", self.top_share)
        _demand(0 < self.alarm_rate < 1, "alarm_rate", "more than 0 and less than 1", self.alarm_rate)
        _demand(self.tolerance in TOLERANCES, "tolerance", f"one of {', '.join(TOLERANCES)}", self.tolerance)
        _demand(self.orientation in ORIENTATIONS, "orientation", f"one of {', '.join(ORIENTATIONS)}", self.orientation)
        least = 3 * self.embedder().overlap // 2  # reads tiles and area too
        cut = self.tiles != str(WHOLE)
        _demand(not cut or self.image_size >= least, "image_size", f"at least {least} with tiles", self.image_size)

    @property
    def turns(self) -> tuple[str, ...]:
        """Those of `alterations` that lay the item otherwise; none where the outside would be turned in."""
        return ORIENTATIONS[self.orientation] if self.area.fills_frame else ()

    @property
    def doubtful_turns(self) -> tuple[str, ...]:
        """Those of `turns` of which the pictures tell whether they are remembered."""
        return self.turns if self.orientation == BY_PICTURES else ()

    @property
    def alterations(self) -> tuple[str, ...]:
        """What the pictures are remembered with, besides as they are."""
        return TOLERANCES[self.tolerance] + self.turns

    @property
    def grid(self) -> Grid:
        """How a picture is cut; before `auto` has chosen it is whole."""
        return WHOLE if self.tiles == AUTO else parse_tiles(self.tiles)

    @property
    def layer_weights(self) -> tuple[LayerWeights, ...]:
        """How much each layer of a picture's embedding counts."""
        return BACKBONES[self.backbone].weights + ((SPECKS,) if self.grid.detail > 1 else ())

    @property
    def area(self) -> Area:
        """The part of a picture that counts."""
        return Area(self.roi, self.ignore)

    def embedder(self, *, weights: Path | None = None, device: str = "auto", max_pixels: int = MAX_PIXELS) -> Embedder:
        """The embedder that detectors of this config need; its options are those of Embedder."""
        return Embedder(
            self.backbone,
            self.image_size,
            grid=self.grid,
            area=self.area,
            weights=weights,
            device=device,
            max_pixels=max_pixels,
        )

    def strangest(self, height: int, width: int) -> int:
        """How many of the strangest patches of such an anomaly map make up the raw score."""
        looked_at = int(self.area.inside(height, width).sum())
        return max(1, math.ceil(self.top_share * looked_at / (self.grid.rows * self.grid.columns)))

    @property
    def most_altered(self) -> int:
        """How many pictures are remembered altered too; fewer where each has many tiles, which vary by themselves."""
        return max(1, MOST_ALTERED // (self.grid.rows * self.grid.columns))


def _demand(holds: bool, name: str, allowed: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{name} must be {allowed}, not {value!r}")
