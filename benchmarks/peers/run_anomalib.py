"""anomalib's PatchCore or PaDiM on one split; runs in anomalib's own environment, so it imports nothing of ours.

Reads a job as JSON from standard input and writes what it measured as JSON to standard output. Only anomalib's models
are timed: without Lightning, without its visualiser, which makes it faster than its users see it.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
from anomalib.models.image.padim.torch_model import PadimModel
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from PIL import Image

BATCH = 8
MEAN, STD = 127.0, 128.0  # what the EfficientNet-Lite weights were trained with


def main() -> None:
    job = json.load(sys.stdin)
    torch.manual_seed(job["seed"])
    torch.set_num_threads(job["threads"])
    model = build(job)
    started = time.perf_counter()
    train(model, job)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    scores = [judge(model, path, job["side"]) for path in job["judged"]]
    milliseconds = 1000 * (time.perf_counter() - started) / len(scores)
    json.dump({"scores": scores, "fit_seconds": seconds, "predict_ms": milliseconds}, sys.stdout)


def build(job: dict) -> torch.nn.Module:
    name, layers = job["timm_name"], ["blocks.2", "blocks.4"]
    if job["method"] == "patchcore":
        model = PatchcoreModel(backbone=name, layers=layers, pre_trained=False)
    else:
        model = PadimModel(backbone=name, layers=layers, pre_trained=False, n_features=100)
    network = model.feature_extractor.feature_extractor
    published = list(torch.load(job["weights"], weights_only=True).values())
    network.load_state_dict(dict(zip(network.state_dict(), published, strict=False)))
    return model


@torch.no_grad()
def train(model: torch.nn.Module, job: dict) -> None:
    model.train()
    model.feature_extractor.eval()
    paths = job["learned"]
    for start in range(0, len(paths), BATCH):
        model(torch.cat([read(path, job["side"]) for path in paths[start : start + BATCH]]))
    if job["method"] == "patchcore":
        model.subsample_embedding(0.1)
    else:
        model.fit()
    model.eval()


@torch.no_grad()
def judge(model: torch.nn.Module, path: str, side: int) -> float:
    return float(model(read(path, side)).pred_score)


def read(path: str, side: int) -> torch.Tensor:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR), dtype=np.float32)
    return torch.from_numpy((pixels - MEAN) / STD).permute(2, 0, 1)[None]


if __name__ == "__main__":
    main()
