"""Where to look, as people draw it in a project: rectangles on any one picture, which hold for all of them.

The labels that mean so are those of `labels.ROI_NAMES` and `labels.IGNORE_NAMES`. Label Studio keeps what is drawn,
like all that a model depends on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import cos, radians, sin
from typing import Any

from backend.dataset import Task, changed_at
from backend.errors import AreaUnusable
from backend.labels import LabelConfig, is_rectangle
from model.area import Area, Rectangle, write_rectangles

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DrawnArea:
    """The area and the task on whose picture it is drawn."""

    task_id: int
    area: Area


def drawn_area(tasks: Iterable[Task], config: LabelConfig) -> DrawnArea | None:
    """The area of the annotation that was changed last, of those with any; None where nobody has drawn one.

    Raises AreaUnusable where it leaves nothing to look at.
    """
    newest = max(_drawings(tasks, config), key=lambda drawing: drawing[0], default=None)
    if newest is None:
        return None
    _, task_id, result = newest
    roi, ignore = (
        write_rectangles(_upright(item) for item in result if is_rectangle(item, meant))
        for meant in (config.roi, config.ignore)
    )
    try:
        return DrawnArea(task_id, Area(roi, ignore))
    except ValueError as error:
        raise AreaUnusable(f"the area drawn in task {task_id} cannot be used: {error}; draw it anew") from error


def _drawings(tasks: Iterable[Task], config: LabelConfig) -> Iterator[tuple[str, int, list[Json]]]:
    """When, in which task and what was drawn, of each annotation with an area."""
    for task in tasks:
        for annotation in task.get("annotations") or ():
            result = [item for item in annotation.get("result") or () if config.is_area(item)]
            if result and not annotation.get("was_cancelled"):
                yield changed_at(annotation), task["id"], result


def _upright(item: Json) -> Rectangle:
    """The rectangle around what was drawn, which may be turned about its top left corner, within the picture."""
    value = item["value"]
    aspect = (item.get("original_width") or 1) / (item.get("original_height") or 1)
    angle = radians(value.get("rotation") or 0)
    width, height = value["width"], value["height"] / aspect  # both in per cent of the picture's width
    corners = [(x, y) for x in (0, width) for y in (0, height)]
    across = [x * cos(angle) - y * sin(angle) for x, y in corners]
    down = [aspect * (x * sin(angle) + y * cos(angle)) for x, y in corners]
    left, right = (_within(value["x"] + edge) for edge in (min(across), max(across)))
    top, bottom = (_within(value["y"] + edge) for edge in (min(down), max(down)))
    return Rectangle(left, top, right - left, bottom - top)


def _within(percent: float) -> float:
    return min(max(percent, 0.0), 100.0)
