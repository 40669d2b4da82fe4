"""Metrics of the field that the product itself has no use for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import precision_recall_curve

HIGHEST_RATE = 0.3
STEPS = 200


def f1_max(scores: NDArray[np.float64], abnormal: NDArray[np.bool_]) -> float:
    """The best F1 over all thresholds."""
    precision, recall, _ = precision_recall_curve(abnormal, scores)
    return float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)))


def aupro(maps: Sequence[NDArray[np.float32]], masks: Sequence[NDArray[np.bool_]]) -> float:
    """Area under the per-region overlap curve up to a false-positive rate of 30 %, in (0, 1).

    maps, masks: (H, W) each. Bergmann et al., "The MVTec Anomaly Detection Dataset" (2021), 5.2.
    """
    outside = np.concatenate([anomaly_map[~mask] for anomaly_map, mask in zip(maps, masks, strict=True)])
    rates = np.linspace(0, HIGHEST_RATE, STEPS)
    thresholds = np.quantile(outside, 1 - rates)
    overlaps = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        labels, count = ndimage.label(mask)
        for label in range(1, count + 1):
            inside = np.sort(anomaly_map[labels == label])
            overlaps.append(1 - np.searchsorted(inside, thresholds, side="right") / len(inside))
    return float(np.trapezoid(np.mean(overlaps, axis=0), rates) / HIGHEST_RATE)
