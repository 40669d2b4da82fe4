"""Which tasks are suggested to be judged next."""

from __future__ import annotations

from typing import Any

import pytest

from backend.labels import EXAMPLE_CONFIG, parse_config
from backend.suggesting import doubtful, open_places

CONFIG = parse_config(EXAMPLE_CONFIG)
VERSION = "normal-10-00000000"
NORMAL = [{"from_name": "verdict", "type": "choices", "value": {"choices": ["normal"]}}]


@pytest.mark.parametrize(
    ("annotations", "open_"),
    [
        ([], True),
        ([{"was_cancelled": True, "result": []}], False),  # somebody skipped it, as it cannot be judged
        ([{"was_cancelled": False, "result": NORMAL}], False),  # it waits for a second opinion
    ],
)
def test_only_what_nobody_has_looked_at_is_suggested(annotations: list[dict[str, Any]], open_: bool) -> None:
    prediction = {"model_version": VERSION, "score": 0.5, "result": NORMAL}
    task = {"id": 3, "data": {"image": "/3.jpg"}, "annotations": annotations, "predictions": [prediction]}
    assert bool(open_places([task], CONFIG)) is open_
    assert bool(doubtful([task], CONFIG, VERSION)) is open_
