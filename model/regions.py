"""From an anomaly map to the places that a person should look at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from contourpy import LineType, contour_generator
from numpy.typing import NDArray
from scipy import ndimage

from model.area import Frame

Map = NDArray[np.float32]

FINE_SIDE = 256
MOST_REGIONS = 10
SMALLEST_SHARE = 0.02
PEAK_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Region:
    """One connected anomalous place. All coordinates are shares of the picture's width and height, 0 to 1.

    x, y, width, height: bounding box, from the top left corner.
    peak: (x, y) of the strangest point.
    strength: the map's highest value inside, in units of the pixel threshold.
    area: share of the picture.
    outline: (x, y) corners of the surrounding polygon.
    """

    x: float
    y: float
    width: float
    height: float
    peak: tuple[float, float]
    strength: float
    area: float
    outline: tuple[tuple[float, float], ...]

    def in_picture(self, frame: Frame) -> Region:
        """The same place, found in the frame's map, in shares of the whole picture."""

        def placed(point: tuple[float, float]) -> tuple[float, float]:
            return frame.left + point[0] * frame.width, frame.top + point[1] * frame.height

        x, y = placed((self.x, self.y))
        return replace(
            self,
            x=x,
            y=y,
            width=self.width * frame.width,
            height=self.height * frame.height,
            peak=placed(self.peak),
            area=self.area * frame.width * frame.height,
            outline=tuple(map(placed, self.outline)),
        )


def upsample(anomaly_map: Map, shape: tuple[int, int]) -> Map:
    """Bilinear, cell centres kept in place: float32 (h, w) -> float32 shape = (H, W)."""
    coarse = torch.from_numpy(np.ascontiguousarray(anomaly_map))
    resized = F.interpolate(coarse[None, None], size=shape, mode="bilinear", align_corners=False)
    fine_map: Map = resized[0, 0].numpy()
    return fine_map


def fine_map(anomaly_map: Map) -> Map:
    """The map at a resolution that draws smooth outlines: its longer side is at least FINE_SIDE."""
    factor = max(1.0, FINE_SIDE / max(anomaly_map.shape))
    height, width = (max(1, round(side * factor)) for side in anomaly_map.shape)
    return upsample(anomaly_map, (height, width))


def region_level(anomaly_map: Map, pixel_threshold: float) -> float:
    """The map value above which a place is drawn: the pixel threshold, or 80 % of a peak that is below it."""
    return min(pixel_threshold, PEAK_SHARE * float(anomaly_map.max()))


def find_regions(anomaly_map: Map, pixel_threshold: float) -> tuple[Region, ...]:
    """Connected places above the pixel threshold, largest first, at most MOST_REGIONS.

    anomaly_map: float32 (h, w), distances. Specks smaller than SMALLEST_SHARE of the largest place are left
    out. A picture can be abnormal as a whole with no single place above the threshold; its peak is shown then.
    """
    fine = fine_map(anomaly_map)
    level = region_level(fine, pixel_threshold)
    labels, count = ndimage.label(fine > level)
    if count == 0:
        return ()
    sizes = np.bincount(labels.ravel())[1:]
    order = [int(i) for i in np.argsort(-sizes)[:MOST_REGIONS] if sizes[i] >= SMALLEST_SHARE * sizes.max()]
    boxes = ndimage.find_objects(labels)
    return tuple(_region(fine, labels, i + 1, boxes[i], level, pixel_threshold) for i in order)


def region_mask(anomaly_map: Map, pixel_threshold: float, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixels of a picture of `shape` = (height, width) lie in an anomalous place -> bool (H, W)."""
    full = upsample(anomaly_map, shape)
    return full > region_level(full, pixel_threshold)


def _region(
    fine: Map, labels: NDArray[np.int32], label: int, box: tuple[slice, slice], level: float, threshold: float
) -> Region:
    height, width = fine.shape
    rows, columns = box
    here = labels[box] == label
    inside = np.where(here, fine[box], -np.inf)
    peak_row, peak_column = np.unravel_index(int(inside.argmax()), inside.shape)
    corners = np.array((columns.start, rows.start)) + _outline(np.where(here, fine[box], 0.0), level)
    return Region(
        x=columns.start / width,
        y=rows.start / height,
        width=(columns.stop - columns.start) / width,
        height=(rows.stop - rows.start) / height,
        peak=((columns.start + peak_column + 0.5) / width, (rows.start + peak_row + 0.5) / height),
        strength=float(inside.max() / threshold),
        area=float(here.sum() / fine.size),
        outline=tuple((float(x), float(y)) for x, y in np.clip(corners / (width, height), 0.0, 1.0)),
    )


def _outline(place: NDArray[np.float32], level: float) -> NDArray[np.float64]:
    """The longest contour line of one place, thinned to a polygon that people can edit: (x, y) in cells, (n, 2)."""
    generator = contour_generator(z=np.pad(place, 1), line_type=LineType.Separate)
    lines = cast(list[NDArray[np.float64]], generator.lines(level))
    longest = max(lines, key=len, default=np.zeros((0, 2)))
    step = max(1, len(longest) // 60)
    return longest[:-1:step] - 0.5
