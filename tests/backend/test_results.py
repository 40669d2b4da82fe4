from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface import LabelInterface

from backend import configs
from backend.brush import encode_mask
from backend.labels import parse_config
from backend.results import prediction_result
from model.detector import AnomalyDetector
from model.prediction import Prediction, Verdict

EVERY_CONTROL = """<View>
  <Image name="image" value="$image"/>
  <Choices name="verdict" toName="image"><Choice value="Good"/><Choice value="Bad"/></Choices>
  <RectangleLabels name="box" toName="image"><Label value="anomaly"/></RectangleLabels>
  <BrushLabels name="brush" toName="image"><Label value="heat"/></BrushLabels>
  <KeyPointLabels name="point" toName="image"><Label value="peak"/></KeyPointLabels>
  <PolygonLabels name="outline" toName="image"><Label value="place"/></PolygonLabels>
  <Number name="score" toName="image" max="100"/>
  <TextArea name="why" toName="image"/>
</View>"""


@pytest.fixture(scope="session")
def abnormal(detector: AnomalyDetector, abnormal_pictures: list[Path]) -> Prediction:
    prediction = detector.predict(abnormal_pictures[:1])[0]
    assert prediction.verdict is Verdict.ABNORMAL
    return prediction


KINDS = re.sub('<Label value="[a-z]+"/>', '<Label value="scratch"/><Label value="dent"/>', EVERY_CONTROL)


@pytest.mark.parametrize("xml", [EVERY_CONTROL, KINDS, *(path.read_text() for path in configs.FOLDER.glob("*.xml"))])
def test_label_studio_accepts_what_is_predicted(xml: str, abnormal: Prediction) -> None:
    config = parse_config(xml)
    row = {"result": prediction_result(abnormal, config), "score": abnormal.score, "model_version": "v"}
    assert LabelInterface(xml).validate_prediction(row, return_errors=True) == []


def test_every_control_is_filled_and_no_other(abnormal: Prediction) -> None:
    result = prediction_result(abnormal, parse_config(EVERY_CONTROL))
    assert {item["from_name"] for item in result} == {"verdict", "box", "brush", "point", "outline", "score", "why"}
    assert result[0]["value"] == {"choices": ["Bad"]}
    plain = parse_config((configs.FOLDER / "verdict.xml").read_text())
    assert [item["from_name"] for item in prediction_result(abnormal, plain)] == ["verdict"]


def test_where_labels_are_kinds_of_defects_the_places_have_none(abnormal: Prediction) -> None:
    result = prediction_result(abnormal, parse_config(KINDS))
    places = [item for item in result if item["type"].endswith("labels")]
    assert {item["from_name"] for item in places} == {"box", "brush", "point", "outline"}
    assert all(item["value"][item["type"]] == [] for item in places)


def test_only_the_verdict_has_a_score_that_the_threshold_divides(abnormal: Prediction) -> None:
    items = prediction_result(abnormal, parse_config(EVERY_CONTROL))
    scores = {item["from_name"]: item["score"] for item in items if "score" in item}
    assert scores == {"verdict": abnormal.score, "brush": abnormal.score}
    assert abnormal.score > 0.5


def test_places_lie_inside_the_picture_and_agree(abnormal: Prediction) -> None:
    items = prediction_result(abnormal, parse_config(EVERY_CONTROL))
    box = next(item["value"] for item in items if item["from_name"] == "box")
    outline = np.array(next(item["value"]["points"] for item in items if item["from_name"] == "outline"))
    point = next(item["value"] for item in items if item["from_name"] == "point")
    assert 0 <= box["x"] <= point["x"] <= box["x"] + box["width"] <= 100
    assert 0 <= box["y"] <= point["y"] <= box["y"] + box["height"] <= 100
    assert (outline >= 0).all()
    assert (outline <= 100).all()
    assert np.allclose(outline.min(axis=0), (box["x"], box["y"]), atol=2)


def test_the_mask_covers_the_boxes(abnormal: Prediction) -> None:
    items = prediction_result(abnormal, parse_config(EVERY_CONTROL))
    brush = next(item for item in items if item["from_name"] == "brush")
    size = (brush["original_height"], brush["original_width"])
    assert size == (abnormal.height, abnormal.width) == (512, 384)
    mask = np.asarray(decode_rle(brush["value"]["rle"])).reshape(*size, 4)[:, :, 3] > 0
    share = mask.mean()
    assert share == pytest.approx(sum(region.area for region in abnormal.regions), abs=0.02)


def test_a_normal_picture_gets_no_places(detector: AnomalyDetector, normal_pictures: list[Path]) -> None:
    prediction = detector.predict(normal_pictures[:1])[0]
    items = prediction_result(prediction, parse_config(EVERY_CONTROL))
    assert {item["from_name"] for item in items} == {"verdict", "score", "why"}
    assert items[0]["value"] == {"choices": ["Good"]}


def test_the_number_control_sets_the_scale(abnormal: Prediction) -> None:
    items = prediction_result(abnormal, parse_config(EVERY_CONTROL))
    number = next(item["value"]["number"] for item in items if item["from_name"] == "score")
    assert number == pytest.approx(100 * abnormal.score, abs=0.001)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=60), elements=st.booleans()))
def test_masks_survive_label_studios_decoder(mask: np.ndarray) -> None:
    decoded = np.asarray(decode_rle(encode_mask(mask))).reshape(*mask.shape, 4)
    assert ((decoded > 0) == mask[:, :, None]).all()


def test_a_large_empty_mask_is_short() -> None:
    assert len(encode_mask(np.zeros((3000, 4000), dtype=bool))) < 5000
