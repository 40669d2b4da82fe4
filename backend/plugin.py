"""A LabelStudioMLBase subclass for those who run label-studio-ml's own server.

Works under label-studio-ml 1.0.9 (PyPI) and version 2 (GitHub), whose constructors and calling styles differ.
Training goes through the same queue as that of our own server; a `label-studio-anomaly worker` does it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from flask import has_request_context, request
from label_studio_ml import model as label_studio_ml
from label_studio_ml.model import LabelStudioMLBase

from backend.logs import hush_libraries
from backend.naming import UNTRAINED
from backend.predicting import empty_result
from backend.project_ids import creation_time, project_number
from backend.services import Services, build_services
from backend.settings import load_settings

Json = dict[str, Any]


@cache
def shared_services() -> Services:
    """The parts, built once in each process: label-studio-ml makes model objects by the request."""
    hush_libraries()
    return build_services(load_settings())


class AnomalyModel(LabelStudioMLBase):  # type: ignore[misc]
    """Delegates to the service: same predictions, same jobs, same versions."""

    def setup(self) -> None:
        """Version 2 calls this for every request, and answers Label Studio with the version set here."""
        self.set("model_version", version_of(project_number(self.project_id)))

    def predict(self, tasks: list[Json], context: Json | None = None, **kwargs: Any) -> list[Json]:
        """One result for each task, in order."""
        parts = shared_services()
        project_id = _project_of(tasks)
        if project_id is None:
            return [empty_result(UNTRAINED, "the request names no project") for _ in tasks]
        config = _asked().get("label_config") or self.label_config or ""
        return parts.predictor.predict(project_id, tasks, config, _created()).results

    def fit(self, *args: Any, event: str | None = None, data: Json | None = None, **kwargs: Any) -> Json:
        """Queues a job for the project; version 2 passes event and data by position, 1.0.9 by name."""
        if event is None and len(args) == 2:
            event, data = args
        project_id = project_number(((data or {}).get("project") or {}).get("id"))
        if project_id is not None:
            parts = shared_services()
            parts.registry.remember(project_id)
            parts.jobs.request_sync(project_id, force=event == "START_TRAINING")
        return {}


class InProcess:
    """Stands in for the job manager of 1.0.9.

    That one starts a process for every event, leaves out some events, Start Training among them, and calls each a
    new version: Label Studio would then ask for all predictions again.
    """

    def get_result(self, model_version: str | None = None) -> Json:
        """What 1.0.9 answers to /setup with. Raises LabelConfigUnusable, so that such a project cannot connect."""
        asked = _asked()
        shared_services().settings.label_config(asked.get("schema") or "")
        return {"job_id": version_of(project_number(asked.get("project")))}

    def run_job(self, model_class: type[AnomalyModel], args: tuple[str, Json, str]) -> None:
        event, data, _ = args
        model_class().fit((), event=event, data=data)


def versions() -> Json:
    """The names of all model versions, newest first: Label Studio asks with GET, which 1.0.9 refuses with 405."""
    return {"versions": shared_services().registry.names()}


if hasattr(label_studio_ml, "LabelStudioMLManager"):  # only 1.0.9 has one
    from label_studio_ml import api

    label_studio_ml.LabelStudioMLManager.get_job_manager = classmethod(lambda manager: InProcess())
    api._server.add_url_rule("/versions", "names_of_versions", versions, methods=["GET"])


def version_of(project_id: int | None) -> str:
    """The version in charge of a project. One that is new is looked at soon."""
    return UNTRAINED if project_id is None else shared_services().predictor.connect(project_id, _created())


def _asked() -> Json:
    """The request's content: 1.0.9 hands its model neither the project nor that project's labelling config."""
    return (request.get_json(silent=True) or {}) if has_request_context() else {}


def _created() -> int | None:
    """When the project was created that the request is about, where that is told."""
    return creation_time(_asked().get("project"))


def _project_of(tasks: list[Json]) -> int | None:
    named = [_asked().get("project"), *(task.get("project") for task in tasks)]
    return next((number for value in named if (number := project_number(value)) is not None), None)
