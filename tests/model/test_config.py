from __future__ import annotations

import re
from typing import Any

import pytest

from model.config import DetectorConfig


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"alarm_rate": 0.0}, "alarm_rate must be more than 0 and less than 1, not 0.0"),
        ({"alarm_rate": 1}, "alarm_rate must be more than 0 and less than 1, not 1"),
        ({"alarm_rate": 5}, "alarm_rate must be"),
        ({"alarm_rate": float("nan")}, "alarm_rate must be"),
        ({"tolerance": "none"}, "tolerance must be one of strict, usual, tolerant, not 'none'"),
        ({"orientation": ""}, "orientation must be one of auto, free, fixed, not ''"),
        ({"bank_rows": 0}, "bank_rows must be at least 1, not 0"),
        ({"top_share": 0.0}, "top_share must be more than 0 and at most 1, not 0.0"),
        ({"image_size": 31}, "image_size must be at least 32, not 31"),
        ({"image_size": 64, "tiles": "3x3"}, "image_size must be at least 96 with tiles, not 64"),
        ({"image_size": 64, "tiles": "auto"}, "image_size must be at least 96 with tiles, not 64"),
        ({"tiles": "many"}, "must be auto or ROWSxCOLUMNS such as 2x3, not 'many'"),
        ({"roi": "1,2,3"}, "must be x,y,width,height in per cent of the picture, not '1,2,3'"),
        ({"ignore": "0,0,100,100"}, "nothing is left to look at"),
    ],
)
def test_what_cannot_be_is_refused_in_words(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        DetectorConfig(**asked)


@pytest.mark.parametrize("asked", [{"image_size": 32}, {"image_size": 96, "tiles": "8x8"}, {"top_share": 1.0}])
def test_the_limits_themselves_are_allowed(asked: dict[str, Any]) -> None:
    assert DetectorConfig(**asked).embedder().canvas
