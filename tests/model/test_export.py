from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest
import torch

from model.config import DetectorConfig
from model.detector import AnomalyDetector
from model.errors import ExportFailed
from model.export import Scorer, export
from model.images import read_image, to_array

CONFIG = DetectorConfig(backbone="efficientnet_lite0", image_size=96, orientation="fixed", tolerance="strict")


@pytest.fixture(scope="module")
def detector(normal_pictures: list[Path]) -> AnomalyDetector:
    return AnomalyDetector(replace(CONFIG, tiles="1x2", ignore="0,0,20,20")).fit(normal_pictures[:6])


@pytest.mark.parametrize("name", ["scorer.onnx", "scorer.xml"])
def test_an_exported_detector_judges_as_the_detector_does(
    name: str, detector: AnomalyDetector, normal_pictures: list[Path], abnormal_pictures: list[Path], tmp_path: Path
) -> None:
    pictures = [*normal_pictures[6:10], *abnormal_pictures[:4]]
    parity = export(detector, tmp_path / "new" / name, pictures)
    assert parity.pictures == 8
    assert parity.largest_difference < 1e-3
    assert (tmp_path / "new" / name).is_file()
    assert not list((tmp_path / "new").glob(".*"))


def test_the_graph_of_a_part_of_the_picture_takes_the_whole_picture(
    normal_pictures: list[Path], abnormal_pictures: list[Path], tmp_path: Path
) -> None:
    detector = AnomalyDetector(replace(CONFIG, roi="30,40,40,50")).fit(normal_pictures[:6])
    parity = export(detector, tmp_path / "scorer.xml", [*normal_pictures[6:10], *abnormal_pictures[:4]])
    assert parity.largest_difference < 0.02  # the part begins at a whole pixel there
    model = openvino.Core().compile_model(tmp_path / "scorer.xml", "CPU")
    _, height, width, _ = model.input("pixels").shape
    assert (height, width) == (192, 240)
    pixels = to_array(read_image(abnormal_pictures[0]).image, (height, width))[None]
    found = model([pixels])["anomaly_map"]
    (ours,) = detector.predict(abnormal_pictures[:1])
    assert found.shape == ours.anomaly_map.shape
    assert np.abs(found - ours.anomaly_map).mean() < 0.05 * ours.anomaly_map.mean()


def test_the_graph_needs_only_pixels(
    detector: AnomalyDetector, normal_pictures: list[Path], abnormal_pictures: list[Path], tmp_path: Path
) -> None:
    export(detector, tmp_path / "scorer.onnx", normal_pictures[:1])
    session = onnxruntime.InferenceSession(tmp_path / "scorer.onnx", providers=["CPUExecutionProvider"])
    (wanted,) = session.get_inputs()
    _, height, width, _ = wanted.shape
    pixels = to_array(read_image(abnormal_pictures[0], enough=max(height, width)).image, (height, width))[None]
    score, raw_score, anomaly_map = session.run(["score", "raw_score", "anomaly_map"], {"pixels": pixels})
    (ours,) = detector.predict(abnormal_pictures[:1])
    assert score == pytest.approx(ours.score, abs=1e-3)
    assert raw_score == pytest.approx(ours.raw_score, rel=1e-2)
    assert np.abs(anomaly_map - ours.anomaly_map).max() < 0.05 * ours.anomaly_map.max()


def test_the_file_for_openvino_says_what_it_takes(
    detector: AnomalyDetector, normal_pictures: list[Path], tmp_path: Path
) -> None:
    export(detector, tmp_path / "scorer.xml", normal_pictures[:1])
    model = openvino.Core().read_model(tmp_path / "scorer.xml")
    assert list(model.input("pixels").shape) == [1, *detector.embedder.canvas, 3]


def test_an_export_that_changes_a_verdict_is_not_kept(
    detector: AnomalyDetector, normal_pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Scorer.forward

    def damaged(self: Scorer, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        score, raw_score, anomaly_map = forward(self, pixels)
        return 1 - score, raw_score, anomaly_map

    monkeypatch.setattr(Scorer, "forward", damaged)
    with pytest.raises(ExportFailed, match="judges 3 of 3 pictures otherwise"):
        export(detector, tmp_path / "scorer.xml", normal_pictures[:3])
    assert not list(tmp_path.iterdir())


def test_bad_requests_are_explained(detector: AnomalyDetector, tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="there is no picture to compare"):
        export(detector, tmp_path / "scorer.onnx", [])
    with pytest.raises(ExportFailed, match="must end in"):
        export(detector, tmp_path / "scorer.pt", [])
