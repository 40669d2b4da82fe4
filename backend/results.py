"""From a prediction to the result that Label Studio stores: only controls that the labelling config has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from backend.brush import encode_mask
from backend.labels import Control, LabelConfig
from model.prediction import Prediction, Verdict
from model.regions import Region, region_mask

Result = dict[str, Any]

KEYPOINT_SIZE = 1.0


def prediction_result(prediction: Prediction, config: LabelConfig) -> list[Result]:
    """The verdict, then whatever else the config takes: places, score, reason."""
    names = config.normal if prediction.verdict is Verdict.NORMAL else config.abnormal
    verdict = {
        "id": config.verdict_id,
        "from_name": config.choices,
        "to_name": config.image,
        "type": "choices",
        "value": {"choices": [names[0]]},
        "score": prediction.score,
    }
    return [verdict] + [item for control in config.extras for item in _fill(control, prediction, config.image)]


def _fill(control: Control, prediction: Prediction, image: str) -> Iterator[Result]:
    common = {"from_name": control.name, "to_name": image, "type": control.type}
    if control.tag == "Number":
        yield common | {"id": control.name, "value": {"number": round(prediction.score * control.maximum, 3)}}
    elif control.tag == "TextArea":
        yield common | {"id": control.name, "value": {"text": [prediction.reason]}}
    elif prediction.regions:
        place = common | {
            "original_width": prediction.width,
            "original_height": prediction.height,
            "image_rotation": 0,
        }
        if control.tag == "BrushLabels":
            yield place | {
                "id": control.name,
                "value": _brush(control, prediction),
                "score": prediction.score,
            }
            return
        draw = DRAWERS[control.tag]
        for number, region in enumerate(prediction.regions):
            yield place | {
                "id": f"{control.name}-{number}",
                "value": draw(region) | _label(control),
            }


def _brush(control: Control, prediction: Prediction) -> dict[str, Any]:
    shape = (prediction.height, prediction.width)
    mask = region_mask(prediction.anomaly_map, prediction.pixel_threshold, shape)
    return {"format": "rle", "rle": encode_mask(mask)} | _label(control)


def _label(control: Control) -> dict[str, list[str]]:
    return {control.type: [control.label] if control.label else []}


def _rectangle(region: Region) -> dict[str, Any]:
    return {
        "x": 100 * region.x,
        "y": 100 * region.y,
        "width": 100 * region.width,
        "height": 100 * region.height,
        "rotation": 0,
    }


def _keypoint(region: Region) -> dict[str, Any]:
    x, y = region.peak
    return {"x": 100 * x, "y": 100 * y, "width": KEYPOINT_SIZE}


def _polygon(region: Region) -> dict[str, Any]:
    return {"points": [[100 * x, 100 * y] for x, y in region.outline], "closed": True}


DRAWERS: dict[str, Callable[[Region], dict[str, Any]]] = {
    "RectangleLabels": _rectangle,
    "KeyPointLabels": _keypoint,
    "PolygonLabels": _polygon,
}
