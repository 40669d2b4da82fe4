"""Everything that training produces, and how it is kept in one file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import artifact
from model.backbone import LayerWeights
from model.calibration import Calibration, supported_threshold
from model.config import DetectorConfig
from model.errors import ArtifactInvalid
from model.memory_bank import MemoryBank
from model.patch_memory import LayerMemory, PatchMemory


@dataclass(frozen=True, slots=True)
class TrainingImage:
    """One normal picture that the detector was given.

    raw_score: by a bank that had not seen it. suspect: set aside as probably not normal; a person should look.
    """

    name: str
    raw_score: float
    suspect: bool


@dataclass(frozen=True)
class Fitted:
    """Everything that training produces.

    peaks: float64 (n,), of each picture the highest place of its out-of-sample map. peak_parts: how many physical parts
    those pictures show.
    looks: float32 (n, C), the mean patch embedding of each remembered picture, named by `names`.
    parts: the number of the physical part that each shows. guessed: how many count as one with another unasked.
    abnormal_turns: alterations that were not remembered, since they lay items as in no normal picture.
    weights: the fingerprint of the network's; None in files of earlier releases.
    """

    memory: PatchMemory
    calibration: Calibration
    peaks: NDArray[np.float64]
    peak_parts: int
    looks: Tensor
    names: tuple[str, ...]
    parts: tuple[int, ...]
    training: tuple[TrainingImage, ...]
    guessed: int = 0
    abnormal_turns: tuple[str, ...] = ()
    weights: str | None = None

    @cached_property
    def pixel_threshold(self) -> float:
        """Places above it are drawn: what the peaks support at the false-alarm rate."""
        return supported_threshold(self.peaks, self.calibration.alarm_rate, self.peak_parts)


def pack(config: DetectorConfig, fitted: Fitted) -> bytes:
    """A trained detector as the content of one safetensors file."""
    meta = {
        "config": asdict(config),
        "peak_parts": fitted.peak_parts,
        "parts": fitted.calibration.parts,
        "names": fitted.names,
        "owners": fitted.parts,
        "guessed": fitted.guessed,
        "abnormal_turns": fitted.abnormal_turns,
        "weights": fitted.weights,
        "training": [asdict(image) for image in fitted.training],
    }
    arrays = {"scores": fitted.calibration.scores, "peaks": fitted.peaks, "looks": fitted.looks.numpy()}
    return artifact.to_bytes(meta, arrays | _memory_arrays(fitted.memory))


def unpack(content: bytes) -> tuple[DetectorConfig, Fitted]:
    """The inverse of pack. Raises ArtifactInvalid on a damaged or foreign file."""
    meta, arrays = artifact.from_bytes(content)
    try:
        config = DetectorConfig(**meta["config"])
        return config, _restore(meta, arrays, config)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactInvalid(f"the saved model is incomplete ({error}): train it again") from error


def _memory_arrays(memory: PatchMemory) -> artifact.Arrays:
    arrays: artifact.Arrays = {"profile": memory.profile.numpy()}
    for number, layer in enumerate(memory.layers):
        arrays[f"layer{number}.rows"] = layer.bank.rows.half().numpy()
        arrays[f"layer{number}.owners"] = layer.bank.owners.int().numpy()
        arrays[f"layer{number}.scales"] = np.array([layer.bandwidth, layer.unit])
    return arrays


def _restore_layer(arrays: artifact.Arrays, number: int, weights: LayerWeights) -> LayerMemory:
    parts = {name: torch.from_numpy(arrays[f"layer{number}.{name}"]) for name in ("rows", "owners", "scales")}
    bank = MemoryBank(parts["rows"].float(), parts["owners"].long())
    bandwidth, unit = parts["scales"].tolist()
    return LayerMemory(bank, bandwidth, unit, weights)


def _restore(meta: dict[str, Any], arrays: artifact.Arrays, config: DetectorConfig) -> Fitted:
    layers = enumerate(config.layer_weights)
    return Fitted(
        memory=PatchMemory(
            tuple(_restore_layer(arrays, number, weights) for number, weights in layers),
            torch.from_numpy(arrays["profile"]),
            config.area.inside(*arrays["profile"].shape),
        ),
        calibration=Calibration(arrays["scores"], config.alarm_rate, meta.get("parts")),
        peaks=arrays["peaks"],
        peak_parts=meta["peak_parts"],
        looks=torch.from_numpy(arrays["looks"]),
        names=tuple(meta["names"]),
        parts=tuple(meta.get("owners", range(len(meta["names"])))),
        guessed=int(meta.get("guessed", 0)),
        abnormal_turns=tuple(meta["abnormal_turns"]),
        training=tuple(TrainingImage(**image) for image in meta["training"]),
        weights=meta.get("weights"),
    )
