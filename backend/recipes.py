"""What a model is made by: its config, and the names that follow from it and from its labels."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import numpy as np

from backend.areas import DrawnArea
from backend.dataset import Dataset
from backend.errors import UnknownVersion
from backend.naming import name_of
from backend.pictures import Pictures
from backend.registry import Registry
from backend.settings import Settings
from model.area import Area
from model.artifact import FORMAT
from model.config import DetectorConfig
from model.detector import AnomalyDetector
from model.errors import ArtifactInvalid

ANY_RATE = 0.05
SAME_SCORE = 0.01
"""Share by which another machine may score a picture otherwise."""


def detector_config(
    settings: Settings, alarm_rate: float | None = None, drawn: DrawnArea | None = None
) -> DetectorConfig:
    """The detector that the settings ask for. alarm_rate, drawn: what people chose for the project, if they did."""
    area = drawn.area if drawn else Area(settings.roi, settings.ignore)
    return DetectorConfig(
        backbone=settings.backbone,
        image_size=settings.image_size,
        alarm_rate=alarm_rate or settings.alarm_rate,
        tolerance=settings.tolerance,
        orientation=settings.orientation,
        roi=area.roi,
        ignore=area.ignore,
        tiles=settings.tiles,
    )


def recipe(config: DetectorConfig, pictures: Pictures) -> str:
    """Names all that a model depends on besides its labels."""
    parts = json.dumps(asdict(config), sort_keys=True) + pictures.embedder(config).key + str(FORMAT)
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def learning_recipe(config: DetectorConfig, pictures: Pictures) -> str:
    """As `recipe`, of what is learned alone: the false-alarm rate only sets thresholds."""
    return recipe(replace(config, alarm_rate=ANY_RATE), pictures)


def version_name(dataset: Dataset, recipe_name: str) -> str:
    """A name derived from what the model depends on: the same labels and settings give the same name."""
    return name_of(len(dataset.training), f"{dataset.fingerprint} {recipe_name}")


def model_name(
    registry: Registry, project_id: int, dataset: Dataset, recipe_name: str, detector: AnomalyDetector
) -> str:
    """The name of the version that a detector is: `version_name`, or another one where that has learned other pictures.

    They are others under the same addresses: no server would load the new version, nor any task get its prediction, if
    it were called the same.
    """
    depends_on = dataset.fingerprint, recipe_name
    alike = [one.name for one in registry.versions(project_id) if (one.fingerprint, one.recipe) == depends_on]
    for name in alike:
        if _is_stored(registry, project_id, name, detector):
            return name
    if not alike:
        return version_name(dataset, recipe_name)
    return version_name(dataset, recipe_name + hashlib.sha256(detector.to_bytes()).hexdigest())


def _is_stored(registry: Registry, project_id: int, name: str, detector: AnomalyDetector) -> bool:
    """Whether a version is this detector; a damaged one is taken for it, and so written anew."""
    try:
        return _learned_the_same(detector, registry.detector(project_id, name))
    except (ArtifactInvalid, UnknownVersion):
        return True


def _learned_the_same(one: AnomalyDetector, other: AnomalyDetector) -> bool:
    if [image.name for image in one.training] != [image.name for image in other.training]:
        return False
    scores, others = ([image.raw_score for image in detector.training] for detector in (one, other))
    return bool(np.allclose(scores, others, rtol=SAME_SCORE))
