"""The Label Studio API: what the service reads from and writes to Label Studio."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from backend.errors import StudioRefused, StudioUnreachable
from backend.settings import Settings
from backend.studio_answers import content_of
from backend.studio_auth import StudioAuth

Json = dict[str, Any]

PAGE_SIZE = 500
ANSWER_SECONDS = 60.0
ATTEMPTS = 3
RETRIED = frozenset((429, 500, 502, 503, 504))
# A page with all fields takes Label Studio twice as long. The second row are those of the annotations.
FIELDS = (
    "id,data,is_labeled,annotations,predictions,"
    "result,created_at,updated_at,completed_by,was_cancelled,ground_truth,parent_prediction"
)
Ids = tuple[int | None, int | None]
"""The first and the last id of a part of the tasks, both included; None is open."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many there are in a project or in a part of it; annotations that skip a task are not counted."""

    tasks: int
    annotations: int
    predictions: int

    def distance(self, other: Counts) -> int:
        """How many tasks differ at least."""
        return max(
            abs(self.tasks - other.tasks),
            abs(self.annotations - other.annotations),
            abs(self.predictions - other.predictions),
        )


def open_studio(settings: Settings, *, timeout: float | None = None) -> Studio:
    """A client for the Label Studio that the settings name."""
    return Studio(settings.label_studio_url, settings.label_studio_api_key.get_secret_value(), timeout=timeout)


class Studio:
    """A client for one Label Studio. Every call raises StudioUnreachable or StudioRefused, nothing else."""

    def __init__(self, url: str, token: str, *, timeout: float | None = None) -> None:
        self.url = url
        self.clock: datetime | None = None  # Label Studio's time when it answered last
        patience = httpx.Timeout(timeout or ANSWER_SECONDS, connect=5.0)
        self._client = httpx.Client(base_url=url, auth=StudioAuth(url, token), timeout=patience)

    def version(self) -> str:
        """Label Studio's release, such as 1.23.2."""
        return str(self._call("GET", "/api/version").get("release", ""))

    def user(self) -> str:
        """The e-mail address of the token's owner."""
        return str(self._call("GET", "/api/current-user/whoami").get("email", ""))

    def project(self, project_id: int) -> Json:
        try:
            project: Json = self._call("GET", f"/api/projects/{project_id}")
        except StudioRefused as error:
            if error.status == 404:
                raise StudioRefused(f"project {project_id}: the token's user sees no such project", 404) from error
            raise
        return project

    def tasks(
        self,
        project_id: int,
        ids: Sequence[int] | None = None,
        *,
        since: datetime | None = None,
        between: Ids = (None, None),
    ) -> Iterator[Json]:
        """The project's tasks with annotations and predictions, ordered by id, page by page.

        ids, since, between: only these, only those changed since, only a part. Imported and deleted predictions
        change no task.
        """
        after = between[0] - 1 if between[0] is not None else None
        while True:
            filters = [*_changed(since), *_inside(after, between[1])]
            answer = self._page(project_id, filters, PAGE_SIZE, ids)
            yield from answer["tasks"]
            if not answer["tasks"] or len(answer["tasks"]) >= answer["total"]:
                return
            after = answer["tasks"][-1]["id"]

    def counts(self, project_id: int, between: Ids = (None, None)) -> Counts:
        """How many tasks, annotations and predictions the project has, or a part of it."""
        after = between[0] - 1 if between[0] is not None else None
        answer = self._page(project_id, _inside(after, between[1]), 1)
        return Counts(answer["total"], answer["total_annotations"], answer["total_predictions"])

    def _page(self, project_id: int, filters: list[Json], size: int, ids: Sequence[int] | None = None) -> Json:
        query: Json = {"filters": {"conjunction": "and", "items": filters}, "ordering": ["tasks:id"]}
        if ids is not None:
            query["selectedItems"] = {"all": False, "included": list(ids)}
        params = {"project": project_id, "page_size": size, "fields": "all", "include": FIELDS}
        answer: Json = self._call("GET", "/api/tasks", params=params | {"query": json.dumps(query)})
        return answer

    def import_predictions(self, project_id: int, predictions: Sequence[Json]) -> int:
        """Stores predictions {task, result, score, model_version}; returns how many were created."""
        answer = self._call(
            "POST", f"/api/projects/{project_id}/import/predictions", json=list(predictions), retry=False
        )
        return int(answer.get("created", 0))

    def delete_predictions(self, project_id: int, task_ids: Sequence[int]) -> None:
        """Deletes every prediction of these tasks."""
        self._call(
            "POST",
            "/api/dm/actions",
            params={"id": "delete_tasks_predictions", "project": project_id},
            json={"selectedItems": {"all": False, "included": list(task_ids)}},
        )

    def delete_prediction(self, prediction_id: int) -> None:
        """Deletes a prediction, unless it is gone already."""
        try:
            self._call("DELETE", f"/api/predictions/{prediction_id}/")
        except StudioRefused as error:
            if error.status != 404:
                raise

    def projects(self) -> list[int]:
        """The ids of the projects that the token's owner sees, at most a thousand."""
        return [int(project["id"]) for project in self._list("/api/projects", {"page_size": 1000, "include": "id"})]

    def backends(self, project_id: int) -> list[Json]:
        """The ML backends connected to the project."""
        return self._list("/api/ml", {"project": project_id})

    def rename_backend(self, backend: Json, title: str, user: str = "", password: str = "") -> None:
        """Sets the backend's title; the project's model version moves with it and keeps sorting by score.

        user, password: of the backend's own Basic auth. Label Studio wants them, the url and the project with
        every change of a backend.
        """
        body = {"url": backend["url"], "project": backend["project"], "title": title}
        if user:
            body |= {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password}
        self._call("PATCH", f"/api/ml/{backend['id']}", json=body)

    def set_model_version(self, project_id: int, version: str) -> None:
        """Chooses whose predictions the project shows and sorts by."""
        self._call("PATCH", f"/api/projects/{project_id}", json={"model_version": version})

    def webhooks(self, project_id: int) -> list[Json]:
        return self._list("/api/webhooks/", {"project": project_id})

    def set_webhook_headers(self, webhook_id: int, headers: dict[str, str]) -> None:
        self._call("PATCH", f"/api/webhooks/{webhook_id}/", json={"headers": headers})

    def delete_webhook(self, webhook_id: int) -> None:
        self._call("DELETE", f"/api/webhooks/{webhook_id}/")

    def tabs(self, project_id: int) -> list[Json]:
        """The tabs of the project's Data Manager."""
        return self._list("/api/dm/views/", {"project": project_id})

    def add_tab(self, project_id: int, tab: Json) -> None:
        self._call("POST", "/api/dm/views/", json={"project": project_id, "data": tab}, retry=False)

    def _list(self, path: str, params: Json) -> list[Json]:
        answer = self._call("GET", path, params=params)
        items = answer.get("results", answer) if isinstance(answer, dict) else answer
        return list(items)

    def _call(self, method: str, path: str, *, retry: bool = True, **content: Any) -> Any:
        """One API call; safe ones are repeated when Label Studio is restarting or overloaded."""
        for attempt in range(ATTEMPTS if retry else 1):
            last = attempt == (ATTEMPTS if retry else 1) - 1
            try:
                response = self._client.request(method, path, **content)
                self.clock = _date(response)
                return content_of(response, method, path)
            except StudioRefused as error:
                if last or error.status not in RETRIED:
                    raise
            except httpx.HTTPError as error:
                if last:
                    raise StudioUnreachable(
                        f"Label Studio at {self.url} does not answer ({type(error).__name__}): is it running, and"
                        " is LABEL_STUDIO_URL right?"
                    ) from error
            time.sleep(2**attempt)
        raise AssertionError("unreachable")


def _changed(since: datetime | None) -> list[Json]:
    # With an offset such as +00:00 Label Studio answers 500.
    told = since and since.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return [_filter("updated_at", "greater_or_equal", "Datetime", told)] if told else []


def _inside(after: int | None, last: int | None) -> list[Json]:
    bounds = (("greater", after), ("less_or_equal", last))
    return [_filter("id", operator, "Number", value) for operator, value in bounds if value is not None]


def _filter(field: str, operator: str, kind: str, value: object) -> Json:
    return {"filter": f"filter:tasks:{field}", "operator": operator, "type": kind, "value": value}


def _date(response: httpx.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers["date"])
    except (KeyError, ValueError):
        return None
