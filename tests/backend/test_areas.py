"""Where to look, as people draw it on one picture."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import configs
from backend.areas import drawn_area
from backend.cutting import Cut
from backend.errors import AreaUnusable
from backend.labels import EXAMPLE_CONFIG, parse_config
from model.area import Area, Rectangle, parse_rectangles, write_rectangles

CONFIG = parse_config((configs.FOLDER / "verdict_regions_area.xml").read_text())

Json = dict[str, Any]


def rectangle(label: str, x: float, y: float, width: float, height: float, **more: object) -> Json:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": [label]}
    return {"from_name": "place", "type": "rectanglelabels", "value": value | more}


def annotation(*result: Json, at: str = "2026-01-01T00:00:00Z", **more: object) -> Json:
    verdict = {"from_name": "verdict", "type": "choices", "value": {"choices": ["normal"]}}
    return {"result": [verdict, *result], "created_at": at, "updated_at": at, "completed_by": 1, **more}


def task(task_id: int, *annotations: Json) -> Json:
    return {"id": task_id, "data": {"image": f"{task_id}.jpg"}, "annotations": list(annotations)}


def test_the_rectangles_that_were_changed_last_hold_for_all_pictures() -> None:
    first = annotation(rectangle("region of interest", 10, 20, 30, 40), at="2026-01-01T00:00:00Z")
    later = annotation(
        rectangle("region of interest", 0, 0, 50, 100),
        rectangle("region of interest", 60, 0, 40, 100),
        rectangle("ignore", 5.125, 5, 10, 10),
        rectangle("anomaly", 70, 70, 5, 5),
        at="2026-01-02T00:00:00Z",
    )
    tasks = [task(7, later), task(8, first), task(9, annotation(rectangle("anomaly", 1, 1, 2, 2)))]
    drawn = drawn_area(tasks, CONFIG)
    assert drawn is not None
    assert drawn.task_id == 7
    assert parse_rectangles(drawn.area.roi) == (Rectangle(0, 0, 50, 100), Rectangle(60, 0, 40, 100))
    assert parse_rectangles(drawn.area.ignore) == (Rectangle(5.12, 5, 10, 10),)
    edited = first | {"updated_at": "2026-01-03T00:00:00Z"}
    assert getattr(drawn_area([task(7, later), task(8, edited)], CONFIG), "task_id", None) == 8
    withdrawn = later | {"was_cancelled": True}
    assert getattr(drawn_area([task(7, withdrawn), task(8, first)], CONFIG), "task_id", None) == 8


def test_nothing_drawn_and_no_label_for_it_leave_the_area_to_the_settings() -> None:
    assert drawn_area([task(1, annotation(rectangle("anomaly", 1, 1, 2, 2))), task(2)], CONFIG) is None
    roi = annotation(rectangle("region of interest", 1, 1, 2, 2))
    assert drawn_area([task(1, roi)], parse_config(EXAMPLE_CONFIG)) is None


def test_what_is_kept_of_a_task_tells_the_same_area() -> None:
    drawn = annotation(rectangle("ignore", 1, 1, 2, 2), rectangle("anomaly", 5, 5, 2, 2), updated="x")
    tasks = [task(1, drawn), task(2, annotation(at="2026-01-05T00:00:00Z"))]
    cut = Cut(CONFIG)
    assert drawn_area([cut.task(one) for one in tasks], CONFIG) == drawn_area(tasks, CONFIG)
    corrected = drawn | {"updated_at": "2026-01-09T00:00:00Z"}
    later = annotation(rectangle("ignore", 3, 3, 2, 2), at="2026-01-08T00:00:00Z")
    tasks = [task(1, corrected), task(2, later)]
    assert getattr(drawn_area([cut.task(one) for one in tasks], CONFIG), "task_id", None) == 1
    assert cut.name != Cut(parse_config((configs.FOLDER / "verdict_regions.xml").read_text())).name


def test_an_area_that_leaves_nothing_is_refused_with_the_task_that_holds_it() -> None:
    with pytest.raises(AreaUnusable, match=r"drawn in task 3 .* nothing is left to look at"):
        drawn_area([task(3, annotation(rectangle("ignore", 0, 0, 100, 100)))], CONFIG)


def test_a_turned_rectangle_counts_with_its_surroundings_and_what_hangs_over_is_cut() -> None:
    turned = rectangle("ignore", 50, 20, 20, 10, rotation=90) | {"original_width": 200, "original_height": 100}
    drawn = drawn_area([task(1, annotation(turned, rectangle("ignore", 90, 90, 20, 20)))], CONFIG)
    assert drawn is not None
    # 40 x 10 pixels, turned clockwise about (100, 20): 10 x 40 pixels to the left of it and downwards
    assert parse_rectangles(drawn.area.ignore) == (Rectangle(45, 20, 5, 40), Rectangle(90, 90, 10, 10))


@given(st.tuples(*[st.floats(0, 100)] * 2), st.tuples(*[st.floats(0, 100)] * 2))
def test_every_rectangle_is_read_as_it_was_written(one: tuple[float, float], other: tuple[float, float]) -> None:
    (left, right), (top, bottom) = (sorted(side) for side in zip(one, other, strict=True))
    drawn = Rectangle(left, top, right - left, bottom - top)
    for read in parse_rectangles(write_rectangles([drawn])):
        assert read == Rectangle(*(pytest.approx(getattr(drawn, side), abs=0.006) for side in Rectangle.__slots__))
    Area(write_rectangles([drawn]))
