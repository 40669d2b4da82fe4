"""What a model is made by: its config, and the names that follow from it and from its labels."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

from backend.areas import DrawnArea
from backend.dataset import Dataset
from backend.naming import name_of
from backend.pictures import Pictures
from backend.settings import Settings
from model.area import Area
from model.artifact import FORMAT
from model.config import DetectorConfig

ANY_RATE = 0.05


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
