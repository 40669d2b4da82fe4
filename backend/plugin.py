"""A LabelStudioMLBase subclass for those who run label-studio-ml's own server.

Works under label-studio-ml 1.0.9 (PyPI) and version 2 (GitHub), whose constructors and calling styles differ:
both hand over the labelling config and the project by name, and both call `predict` with a list of tasks.
Training goes through the same queue as that of our own server; a `label-studio-anomaly worker` does it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from label_studio_ml.model import LabelStudioMLBase

from backend.labels import parse_config
from backend.services import Services, build_services
from backend.settings import load_settings

Json = dict[str, Any]


@cache
def shared_services() -> Services:
    """The parts, built once in each process: label-studio-ml makes model objects by the request."""
    return build_services(load_settings())


class AnomalyModel(LabelStudioMLBase):  # type: ignore[misc]
    """Delegates to the service: same predictions, same jobs."""

    def predict(self, tasks: list[Json], context: Json | None = None, **kwargs: Any) -> list[Json]:
        """One result for each task, in order."""
        services = shared_services()
        settings = services.settings
        config = parse_config(
            kwargs.get("label_config") or self.label_config,
            normal_labels=settings.normal_labels,
            abnormal_labels=settings.abnormal_labels,
        )
        project_id = _project_of(tasks)
        services.registry.remember(project_id)
        return services.predictor.predict(project_id, tasks, config).results

    def fit(self, *args: Any, event: str | None = None, data: Json | None = None, **kwargs: Any) -> Json:
        """Queues a job for the project; version 2 passes event and data by position, 1.0.9 by name."""
        if event is None and len(args) == 2:
            event, data = args
        project = (data or {}).get("project") or {}
        if "id" in project:
            services = shared_services()
            services.registry.remember(int(project["id"]))
            services.jobs.request_sync(int(project["id"]), force=event == "START_TRAINING")
        return {}


def _project_of(tasks: list[Json]) -> int:
    return next((int(task["project"]) for task in tasks if task.get("project")), 0)
