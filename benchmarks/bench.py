"""Measures the detector: accuracy, false alarms, disturbances, time and size.

python -m benchmarks.bench --data FOLDER --output FOLDER [--quick]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from benchmarks import speed
from benchmarks.datasets import DataSet, Split, add_data_option, find_data_sets, split
from benchmarks.disturbances import DISTURBANCES
from benchmarks.embedded import EmbeddedSet, raw_scores, readable
from benchmarks.metrics import aupro, f1_max
from benchmarks.report import write_report
from benchmarks.speed import Speed
from model.alterations import TOLERANCES
from model.config import DetectorConfig
from model.detector import AnomalyDetector
from model.embedding import Embedding
from model.evaluation import evaluate
from model.images import read_image
from model.prediction import Prediction
from model.regions import upsample

SIZES: tuple[int | None, ...] = (5, 10, 25, 50, 100, None)
SEEDS = 5
MAP_SIDE = 256
DISTURBED_SEEDS = 2
DISTURBED_SIZES: tuple[int | None, ...] = (25, None)

Row = dict[str, Any]
Mask = NDArray[np.bool_]


def main() -> None:
    options = _options()
    usual = DetectorConfig()
    config = replace(
        usual,
        backbone=options.backbone or usual.backbone,
        image_size=options.image_size or usual.image_size,
        tolerance=options.tolerance,
    )
    rows: list[Row] = []
    speeds: list[tuple[str, Speed]] = []
    for data in find_data_sets(options.data):
        speeds += [(data.name, found) for found in speed.measure(config, data.normal)]
        rows += measure(data, config, seeds=1 if options.quick else SEEDS)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "results.json").write_text(json.dumps(rows, indent=1))
    print(write_report(rows, speeds, options.output))


def measure(data: DataSet, config: DetectorConfig, *, seeds: int) -> list[Row]:
    """One row for each number of normal pictures and each seed."""
    pictures = EmbeddedSet.of(data, AnomalyDetector(config))
    disturbed = {
        name: _embed_disturbed(pictures.untrained, data, name)
        for name in tqdm(DISTURBANCES, desc=f"{data.name}: disturbing", leave=False)
    }
    masks = [_mask(path) for path in data.masks]
    runs = [(n, seed) for n in SIZES for seed in range(seeds)]
    rows = []
    for n, seed in tqdm(runs, desc=data.name, unit="run"):
        parts = split(data, n, seed)
        if parts is None:
            continue
        trained = pictures.fit(parts.learned)
        row: Row = {"data": data.name, "n": n, "seed": seed} | _measure_one(pictures, masks, parts, trained)
        if n in DISTURBED_SIZES and seed < DISTURBED_SEEDS:
            row["disturbed"] = dict(_false_alarms(trained, disturbed, parts))
        rows.append(row)
    return rows


def _measure_one(pictures: EmbeddedSet, masks: list[Mask | None], parts: Split, trained: AnomalyDetector) -> Row:
    unseen = [*parts.unseen, *range(len(pictures.data.normal), len(pictures.embeddings))]
    judged = [trained.judge(pictures.embeddings[index]) for index in unseen]
    truth = pictures.abnormal(unseen)
    scores = np.array([prediction.raw_score for prediction in judged])
    result = evaluate(scores, truth, [prediction.verdict == "abnormal" for prediction in judged])
    return {
        "learned": len(parts.learned),
        "auroc": result.auroc.value,
        "average_precision": result.average_precision,
        "f1_max": f1_max(scores, truth),
        "aupro": _aupro(judged[len(parts.unseen) :], masks),
        "false_alarms": [result.false_positives, result.normals],
        "found": [result.true_positives, result.abnormals],
        "attainable_rate": trained.calibration.attainable_rate,
        "artifact_bytes": len(trained.to_bytes()),
    }


def _embed_disturbed(detector: AnomalyDetector, data: DataSet, name: str) -> list[Embedding]:
    pictures = (DISTURBANCES[name](read_image(path).image) for path in data.normal)
    return list(readable(detector.embedder.embed(pictures)))


def _false_alarms(
    trained: AnomalyDetector, disturbed: dict[str, list[Embedding]], parts: Split
) -> Iterator[tuple[str, list[int]]]:
    for name, embeddings in disturbed.items():
        scores = raw_scores(trained, [embeddings[index] for index in parts.unseen])
        yield name, [int((scores > trained.calibration.threshold).sum()), len(scores)]


def _mask(path: Path | None) -> Mask | None:
    if path is None:
        return None
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((MAP_SIDE, MAP_SIDE), Image.Resampling.NEAREST)) > 127


def _aupro(judged: list[Prediction], masks: list[Mask | None]) -> float | None:
    pairs = [
        (upsample(prediction.anomaly_map, (MAP_SIDE, MAP_SIDE)), mask)
        for prediction, mask in zip(judged, masks, strict=True)
        if mask is not None and mask.any()
    ]
    return aupro([one for one, _ in pairs], [mask for _, mask in pairs]) if pairs else None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_option(parser)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out"), help="where table and plots go")
    parser.add_argument("--backbone", help="another backbone than the default")
    parser.add_argument("--image-size", type=int, help="another side in pixels than the default")
    parser.add_argument("--tolerance", choices=tuple(TOLERANCES), default="usual", help="light and focus allowed")
    parser.add_argument("--quick", action="store_true", help="one seed instead of five")
    return parser.parse_args()


if __name__ == "__main__":
    main()
