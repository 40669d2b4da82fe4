"""Which pictures to tag next: before there is a model those that stand for the most others, then the doubtful ones."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from backend.addresses import saved
from backend.dataset import Dataset, Task, image_uri, is_finished
from backend.drift import prediction_of
from backend.labels import LabelConfig
from backend.pictures import Pictures, Place
from model.config import DetectorConfig
from model.embedding import Embedding
from model.selection import representative_order

Json = dict[str, Any]

SHOWN = 10
KEPT = 3 * SHOWN
LOOKED_AT = 300
MOST_SECONDS = 20.0
"""For looking at pictures: people who tag the first ones meanwhile wait for their model."""


def open_places(tasks: Iterable[Task], config: LabelConfig) -> list[Place]:
    """The pictures that nobody has judged yet, nor skipped: those Label Studio asks for once nothing else is left."""
    untouched = (task for task in tasks if not is_finished(task) and not task.get("annotations"))
    pictures = ((image_uri(task, config), task) for task in untouched)
    return [(uri, int(task["id"])) for uri, task in pictures if uri is not None]


def still_open(suggested: Iterable[Json], tasks: Iterable[Task], config: LabelConfig) -> list[Json]:
    """What was suggested and nobody has judged or skipped since."""
    places = {task_id for _, task_id in open_places(tasks, config)}
    return [row for row in suggested if row["task_id"] in places]


def representative(places: Sequence[Place], dataset: Dataset, pictures: Pictures, config: DetectorConfig) -> list[Json]:
    """Of LOOKED_AT open pictures, spread over all, those that stand for the most others that nobody has tagged.

    Their embeddings stay in the cache, where the training finds them.
    """
    looked_at = places[:: max(1, -(-len(places) // LOOKED_AT))]
    found = list(_looks(looked_at, pictures, config))
    if not found:
        return []
    tagged = [look for _, look in _looks([(image.uri, image.task_id) for image in dataset.normals], pictures, config)]
    looks = torch.stack([look for _, look in found])
    order = representative_order(looks, KEPT, known=torch.stack(tagged) if tagged else None)
    return [_row(*found[index][0]) for index in order]


def doubtful(tasks: Iterable[Task], config: LabelConfig, version: str) -> list[Json]:
    """The open pictures that `version` scores closest to the threshold: judging them teaches it most."""
    open_tasks = {task_id: uri for uri, task_id in open_places(tasks, config)}
    scored = [
        (abs(float(prediction["score"]) - 0.5), task["id"])
        for task in tasks
        if task["id"] in open_tasks and (prediction := prediction_of(task, version))
    ]
    return [_row(open_tasks[task_id], task_id) for _, task_id in sorted(scored)[:SHOWN]]


def _looks(places: Sequence[Place], pictures: Pictures, config: DetectorConfig) -> Iterator[tuple[Place, torch.Tensor]]:
    end = time.monotonic() + MOST_SECONDS
    for place, item in zip(places, pictures.embed_each(places, config), strict=True):
        if isinstance(item, Embedding):
            yield place, item.look
        if time.monotonic() > end:
            return


def _row(uri: str, task_id: int) -> Json:
    return {"task_id": task_id, "uri": saved(uri)}
