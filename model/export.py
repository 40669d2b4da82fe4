"""A trained detector as one ONNX or OpenVINO graph, from pixels to score, for machines without PyTorch.

The graph takes one picture, upright, RGB and resized with antialiasing to the size of its input. Of a detector that
looks at a part of the picture, that size leaves this part as large as the detector sees it.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from model.acceleration import convert, import_openvino
from model.backbone import load_backbone
from model.detector import AnomalyDetector
from model.embedding import BLANK
from model.errors import ExportFailed, ImageUnreadable
from model.images import ImageSource, read_image, to_array

OUTPUTS = ["score", "raw_score", "anomaly_map"]
OPSET = 18
AT_THRESHOLD = 0.5

Pixels = NDArray[np.uint8]
Run = Callable[[Pixels], float]
"""uint8 (1, H, W, 3) -> score, in (0, 1)"""


@dataclass(frozen=True, slots=True)
class Parity:
    """How an exported graph compares with the detector that it came from.

    pictures: how many both judged. largest_difference: between two scores, which lie in (0, 1).
    detector_ms, exported_ms: median milliseconds from the resized picture to the score.
    """

    pictures: int
    largest_difference: float
    detector_ms: float
    exported_ms: float


class Scorer(nn.Module):
    """The whole detector as one module: uint8 (1, H, W, 3) -> score (), raw_score (), anomaly_map (h, w)."""

    def __init__(self, detector: AnomalyDetector) -> None:
        super().__init__()
        self._detector = detector
        embedder = detector.embedder
        plain = load_backbone(
            embedder.backbone_name,
            weights=embedder.weights,
            device="cpu",
            detail=embedder.grid.detail,
            accelerate=False,
        )
        self._patches = cast(nn.Module, plain.patches)
        self._inside = detector.config.area.inside(*embedder.canvas)[None, :, :, None]
        self._around = detector.config.area.around(*embedder.canvas)
        self._strangest = detector.config.strangest(*detector.memory.profile.shape)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        detector, (left, _, above, _) = self._detector, self._around
        _, height, width, _ = self._inside.shape
        framed = pixels[:, above : above + height, left : left + width]
        seen = torch.where(self._inside, framed, torch.tensor(int(BLANK), dtype=pixels.dtype))
        tiles = detector.embedder.cut(seen[0])
        layers = self._patches(torch.stack(tiles))
        stitched = detector.embedder.stitch([tuple(layer[place] for layer in layers) for place in range(len(tiles))])
        maps = detector.memory.maps(stitched)
        raw_score = maps.score.flatten().topk(self._strangest).values.mean()
        x = (raw_score - detector.calibration.threshold) / detector.calibration.scale
        return 0.5 + 0.5 * x / (1 + x.abs()), raw_score, detector.config.area.in_picture(maps.place)


def export(detector: AnomalyDetector, path: Path, pictures: Iterable[ImageSource]) -> Parity:
    """Writes `path`, .onnx or .xml (OpenVINO), once it judges all `pictures` as the detector does.

    Raises ExportFailed, and leaves no file, when a verdict differs or a package is missing; ImageUnreadable when a
    picture cannot be read.
    """
    if path.suffix not in FORMATS:
        raise ExportFailed(f"{path.name} must end in .onnx, or in .xml for OpenVINO")
    write, load = FORMATS[path.suffix]
    size = input_size(detector)
    inputs = [_read(picture, size, detector.embedder.max_pixels) for picture in pictures]
    if not inputs:
        raise ExportFailed("there is no picture to compare the exported model with: name some, normal and abnormal")
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        partial = Path(folder) / path.name
        with torch.no_grad():
            write(Scorer(detector).eval(), torch.from_numpy(inputs[0].copy()), partial)
        parity = _compare(detector, load(partial), inputs)
        for written in sorted(Path(folder).iterdir()):
            written.replace(path.parent / written.name)
    return parity


def input_size(detector: AnomalyDetector) -> tuple[int, int]:
    """(height, width) of the pictures that the exported graph takes."""
    height, width = detector.embedder.canvas
    left, right, above, below = detector.config.area.around(height, width)
    return above + height + below, left + width + right


def _read(picture: ImageSource, size: tuple[int, int], max_pixels: int) -> Pixels:
    try:
        return to_array(read_image(picture, enough=max(size), max_pixels=max_pixels).image, size)[None]
    except ImageUnreadable as error:
        name = picture if isinstance(picture, str | os.PathLike) else "a picture"
        raise ImageUnreadable(f"{name}: {error}") from error


def _compare(detector: AnomalyDetector, run: Run, inputs: Sequence[Pixels]) -> Parity:
    ours, detector_ms = _timed(lambda pixels: detector.predict([Image.fromarray(pixels[0])])[0].score, inputs)
    theirs, exported_ms = _timed(run, inputs)
    changed = int(((ours > AT_THRESHOLD) != (theirs > AT_THRESHOLD)).sum())
    if changed:
        raise ExportFailed(f"the exported model judges {changed} of {len(inputs)} pictures otherwise: it is not kept")
    return Parity(len(inputs), float(np.abs(ours - theirs).max()), detector_ms, exported_ms)


def _timed(run: Run, inputs: Sequence[Pixels]) -> tuple[NDArray[np.float64], float]:
    """The scores, float64 (n,), and the median of the milliseconds that one took; the first is not counted."""
    run(inputs[0])
    scores, times = [], []
    for pixels in inputs:
        started = time.perf_counter()
        scores.append(run(pixels))
        times.append(1000 * (time.perf_counter() - started))
    return np.array(scores), statistics.median(times)


def _write_onnx(scorer: Scorer, example: Tensor, path: Path) -> None:
    _need("onnx", "onnxruntime", "onnxscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own ways
        torch.onnx.export(
            scorer,
            (example,),
            path,
            input_names=["pixels"],
            output_names=OUTPUTS,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _load_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda pixels: float(session.run(OUTPUTS[:1], {"pixels": pixels})[0])


def _write_openvino(scorer: Scorer, example: Tensor, path: Path) -> None:
    _need("openvino")
    model = convert(scorer, example)
    model.reshape(list(example.shape))  # else it would take any size, and several pictures, and judge but the first
    model.inputs[0].get_tensor().set_names({"pixels"})
    for output, name in zip(model.outputs, OUTPUTS, strict=True):
        output.get_tensor().set_names({name})
    import_openvino().save_model(model, path, compress_to_fp16=False)


def _load_openvino(path: Path) -> Run:
    compiled = import_openvino().Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda pixels: float(compiled([pixels])[0])


def _need(*packages: str) -> None:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ExportFailed(f"exporting needs {' and '.join(missing)}: pip install 'label-studio-anomaly[export]'")


FORMATS: dict[str, tuple[Callable[[Scorer, Tensor, Path], None], Callable[[Path], Run]]] = {
    ".onnx": (_write_onnx, _load_onnx),
    ".xml": (_write_openvino, _load_openvino),
}
