"""HTTP: Label Studio's ML backend protocol. The pages for people and the interface for machines are added to it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from anyio import fail_after, to_thread
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from backend import __version__, answers, api, events
from backend.access import Parts, authenticate, check_webhook
from backend.answers import gives
from backend.errors import (
    Forbidden,
    LabelConfigUnusable,
    MediaUnavailable,
    NotAllowed,
    NotPossible,
    Overloaded,
    QueueUnreachable,
    StoreUnreachable,
    StoreUnwritable,
    StudioRefused,
    StudioUnreachable,
    UnknownProject,
    UnknownVersion,
)
from backend.events import Heard
from backend.heads import Heads
from backend.limits import BodyLimit
from backend.predicting import Answer
from backend.project_ids import creation_time, project_number
from backend.report.routes import fault_page, projects_page, router
from backend.services import Services
from backend.wording import in_words
from model.errors import AnomalyError, ArtifactInvalid, ImageUnreadable

log = logging.getLogger(__name__)

Json = dict[str, Any]

CONFIG_UNUSABLE = 422
WEBHOOK_SECONDS = 0.7
RETRY_AFTER = "5"
KNOWN_ACTIONS = frozenset(
    f"{what}_{how}"
    for what in ("ANNOTATION", "ANNOTATIONS", "TASK", "TASKS", "PROJECT")
    for how in ("CREATED", "UPDATED", "DELETED")
) | {"START_TRAINING"}
STATUS_OF = {
    NotAllowed: 401,
    Forbidden: 403,
    UnknownProject: 404,
    UnknownVersion: 404,
    MediaUnavailable: 404,
    ImageUnreadable: 404,
    NotPossible: 400,
    LabelConfigUnusable: CONFIG_UNUSABLE,
    QueueUnreachable: 503,
    StoreUnreachable: 503,
    StoreUnwritable: 503,
    Overloaded: 503,
    ArtifactInvalid: 503,
    StudioUnreachable: 503,
    StudioRefused: 502,
}


class Message(BaseModel):
    """Label Studio's requests grow from release to release; unknown fields are welcome."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class SetupRequest(Message):
    """project: the id, with its creation time after a dot. schema: the labelling config."""

    project: str | int
    config_xml: str = Field("", alias="schema")


class PredictRequest(Message):
    tasks: list[Any]
    project: str | int | None = None
    label_config: str | None = None


def create_app(services: Services) -> FastAPI:
    """The web application around `services`."""
    # The pages that FastAPI offers for trying requests load scripts from other hosts.
    app = FastAPI(title="label-studio-anomaly", version=__version__, docs_url=None, redoc_url=None)
    app.state.services = services
    app.add_exception_handler(AnomalyError, _explain)
    app.add_exception_handler(RequestValidationError, _explain_request)
    app.add_exception_handler(HTTPException, _explain_http)
    app.add_middleware(Heads)
    app.add_middleware(BodyLimit, most_mb=services.settings.body_max_mb)
    protected = [Depends(authenticate)]
    app.get("/", dependencies=protected, include_in_schema=False)(home)
    app.get("/health", response_model=answers.Health)(health)
    protocol = APIRouter(responses=answers.FAULTS)
    protocol.post("/setup", dependencies=protected, response_model=answers.Setup)(setup)
    protocol.post("/predict", dependencies=protected, response_model=answers.Results)(predict)
    protocol.get("/versions", dependencies=protected, response_model=answers.Names)(versions)
    heard = protocol.post(
        "/webhook", dependencies=[Depends(check_webhook)], response_model=answers.Taken, openapi_extra=events.DESCRIBED
    )
    heard(webhook)
    protocol.get("/metrics", dependencies=protected, response_class=Response, responses=gives("text/plain"))(metrics)
    app.include_router(protocol)
    app.include_router(api.router)
    app.include_router(router)
    app.mount("/static", StaticFiles(packages=[("backend.report", "static")]))
    return app


# Label Studio's protocol


async def health() -> Json:
    """Answers at once, whatever else is going on."""
    return {"status": "UP", "model_class": "AnomalyDetector", "version": __version__}


def home(request: Request, parts: Parts) -> Response:
    """All projects for people; for machines that knock here, that it is up."""
    if _for_people(request):
        return projects_page(parts)
    return JSONResponse({"status": "UP"})


def setup(body: SetupRequest, parts: Parts) -> Json:
    """The promoted version of a project. A labelling config that does not fit is refused with one that does."""
    project_id = _project_id(body.project)
    parts.settings.label_config(body.config_xml)
    return {"model_version": parts.predictor.connect(project_id, creation_time(body.project))}


def predict(body: PredictRequest, parts: Parts) -> Json:
    """One result for each task, in order."""
    project_id = _project_of(body)
    with parts.measures.timed():
        created = creation_time(body.project)
        answer = parts.predictor.predict(project_id, body.tasks, body.label_config or "", created)
    _count(project_id, answer, parts)
    return {"results": answer.results}


def versions(parts: Parts) -> Json:
    """The names of all model versions, newest first."""
    return {"versions": parts.registry.names()}


async def webhook(event: Heard, parts: Parts) -> Json:
    """A hint that something changed; whatever it was, the project is brought up to date soon.

    Label Studio waits for one second. A queue that takes longer may still take the hint afterwards.
    """
    if event.project.id is None:
        return {"status": "ignored", "detail": f"{event.action} names no project"}
    project_id = _project_id(event.project.id)
    parts.measures.webhooks.labels(event.action if event.action in KNOWN_ACTIONS else "other").inc()
    ask = partial(parts.jobs.request_sync, project_id, force=event.action == "START_TRAINING")
    try:
        with fail_after(WEBHOOK_SECONDS):
            await to_thread.run_sync(ask, abandon_on_cancel=True)
    except TimeoutError as error:
        raise QueueUnreachable(f"the job queue did not answer within {WEBHOOK_SECONDS} s") from error
    return {"status": "queued", "job": f"project-{project_id}"}


def metrics(parts: Parts) -> Response:
    """For Prometheus."""
    content = parts.measures.page(parts.registry, parts.jobs.board, parts.jobs.waiting())
    return Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")


def _count(project_id: int, answer: Answer, parts: Services) -> None:
    project = str(project_id)
    for verdict, score in answer.judged:
        parts.measures.predictions.labels(project, verdict).inc()
        parts.measures.scores.labels(project).observe(score)
    if answer.failed:
        parts.measures.failures.labels(project, "picture").inc(len(answer.failed))
    if not answer.in_time:
        parts.measures.failures.labels(project, "out of time").inc()
    if not answer.usable:
        parts.measures.failures.labels(project, "model").inc()


# Requests and answers. What explains a fault is a coroutine: it is answered even where no thread is free.


def _project_of(body: PredictRequest) -> int:
    if body.project is not None:
        return _project_id(body.project)
    first = body.tasks[0] if body.tasks else None
    if isinstance(first, dict) and "project" in first:
        return _project_id(first["project"])
    raise UnknownProject("the request names no project")


def _project_id(value: Any) -> int:
    found = project_number(value)
    if found is None:
        raise UnknownProject(f"{str(value)[:50]!r} is not a project's id")
    return found


async def _explain(request: Request, error: Exception) -> Response:
    status_code = next((code for kind, code in STATUS_OF.items() if isinstance(error, kind)), 500)
    log.log(logging.ERROR if status_code >= 500 else logging.WARNING, "%s: %s", request.url.path, error)
    headers = {401: {"WWW-Authenticate": "Basic"}, 503: {"Retry-After": RETRY_AFTER}}.get(status_code)
    return _fault(request, str(error), status_code, headers)


async def _explain_request(request: Request, error: Exception) -> Response:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    told = "; ".join(f"{'.'.join(map(str, fault['loc'][1:])) or 'body'}: {in_words(fault)}" for fault in faults)
    return _fault(request, f"the request cannot be understood: {told}", 400)


async def _explain_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    text = "there is nothing at this address" if error.status_code == 404 else str(error.detail)
    return _fault(request, text, error.status_code, error.headers)


def _fault(request: Request, text: str, status_code: int, headers: Mapping[str, str] | None = None) -> Response:
    if _for_people(request):
        return HTMLResponse(fault_page(text, request.url.path), status_code, headers)
    return JSONResponse({"error": text}, status_code, headers)


def _for_people(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")
