"""Routes of the report. Everything is behind the protocol's password; changes need a token of the page too."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import secrets
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

from anyio import to_thread
from fastapi import APIRouter, Cookie, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from jinja2 import Environment, PackageLoader, select_autoescape

from backend.access import Parts, User, authenticate, known_project, may_change
from backend.actions import follow_rate, put_in_charge
from backend.answers import FAULTS, gives
from backend.comparing import compare
from backend.errors import Forbidden, NotPossible, UnknownProject
from backend.media import shown
from backend.report import view
from backend.services import Services
from backend.status import project_status

Json = dict[str, Any]

COMPARED = 100
EVERY_SECONDS = 0.5
COOKIE = "anomaly_page"
FIELDS = "task_id uri split confirmed predicted score raw_score p_value probability independent cross_fitted".split()


async def _form(request: Request, token: Annotated[str | None, Cookie(alias=COOKIE)] = None) -> dict[str, str]:
    """The fields of one of our own forms. Raises Forbidden for those of another site."""
    fields = parse_qs((await request.body()).decode(errors="replace"))
    form = {name: values[0] for name, values in fields.items()}
    if not token or not secrets.compare_digest(form.get("token", "").encode(), token.encode()):
        raise Forbidden("this page is too old: load it again")
    return form


Form = Annotated[dict[str, str], Depends(_form)]


router = APIRouter(dependencies=[Depends(authenticate)], tags=["report"], responses=FAULTS)

pages = Environment(loader=PackageLoader("backend.report"), autoescape=select_autoescape(), trim_blocks=True)
pages.globals["script"] = sha256((Path(__file__).parent / "static" / "page.js").read_bytes()).hexdigest()[:12]
"""Part of the script's address, so that no browser takes an older one from its cache after an upgrade."""
pages.filters["when"] = lambda text: f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"


def projects_page(parts: Services) -> HTMLResponse:
    """All projects, each with one sentence and how well it does."""
    found = [project_status(project_id, parts) for project_id in parts.registry.projects()]
    for project in found:
        name = project["model_version"]
        project["measured"] = parts.registry.summary(project["project_id"], name).get("held_out") if name else None
    return HTMLResponse(pages.get_template("projects.html").render(projects=found))


def fault_page(text: str, path: str) -> str:
    """HTML that says what is wrong and leads back to the project, and home. path: of the address that was asked for."""
    home = "../" * (path.count("/") - 1) or "./"
    within = re.match(r"/projects/\d+(?=/)", path)
    back = home + within[0].removeprefix("/") if within else None
    return pages.get_template("fault.html").render(text=text, home=home, back=back)


@router.get("/projects/{project_id}", include_in_schema=False)
def project_page(
    project_id: int, parts: Parts, user: User, token: Annotated[str | None, Cookie(alias=COOKIE)] = None
) -> HTMLResponse:
    """One project: where it stands, how well it does, where it errs."""
    known_project(project_id, parts)
    registry = parts.registry
    status = project_status(project_id, parts)
    evaluation = view.evaluation_of(project_id, registry)
    versions = view.versions_of(project_id, registry)
    rules = registry.rules(project_id)
    token = token or secrets.token_urlsafe(24)
    text = pages.get_template("project.html").render(
        status=status,
        shown=view.SHOWN,
        evaluation=evaluation,
        parts=[(evaluation[name], title) for name, title in view.PARTS] if evaluation else [],
        galleries=view.galleries(evaluation["cases"]) if evaluation else [],
        versions=versions,
        older=view.older(versions, status["model_version"]),
        measured_versions=sum(map(view.is_measured, versions)),
        some_learned=any(map(view.is_partly_learned, versions)),
        promotions=registry.promotions(project_id),
        rule=rules[-1] if rules else None,
        in_force=view.in_force(evaluation) if evaluation else 0,
        slider=view.slider(evaluation) if evaluation else {},
        may_change=may_change(user, parts),
        next_step=view.next_step(status, evaluation),
        worse=None if status["error"] else view.worse_since(evaluation, versions),
        studio_url=parts.settings.public_studio_url,
        token=token,
    )
    page = HTMLResponse(text)
    page.set_cookie(COOKIE, token, httponly=True, samesite="lax")
    return page


@router.get("/projects/{project_id}/compare", include_in_schema=False)
def compare_page(project_id: int, first: str, second: str, parts: Parts) -> HTMLResponse:
    """Two versions side by side."""
    known_project(project_id, parts)
    registry = parts.registry
    evaluations = [view.measured(project_id, registry, name) for name in (first, second)]
    versions = view.versions_of(project_id, registry)
    text = pages.get_template("compare.html").render(
        status=project_status(project_id, parts),
        versions=versions,
        chosen=(first, second),
        known={version["name"]: version for version in versions},
        sections=[(evaluation["held_out"], evaluation["model_version"]) for evaluation in evaluations],
        comparison=compare(*evaluations),
        shown=COMPARED,
        studio_url=parts.settings.public_studio_url,
    )
    return HTMLResponse(text)


@router.get("/projects/{project_id}/plots/{name}.svg", response_class=Response, responses=gives("image/svg+xml"))
def plot(project_id: int, name: str, parts: Parts) -> Response:
    """An SVG: histogram, curves, versions or drift."""
    from backend.report import figures  # matplotlib takes a second to load: only for those who look

    evaluation = view.measured(project_id, parts.registry)
    match name:
        case "histogram":
            content = figures.histogram(evaluation["cases"])
        case "curves":
            content = figures.curves(evaluation["cases"])
        case "versions":
            content = figures.versions(view.versions_of(project_id, parts.registry))
        case "drift" if evaluation.get("drift"):
            content = figures.drift(evaluation["drift"])
        case _:
            raise UnknownProject(f"project {project_id} has no plot {name!r}")
    return Response(content, media_type="image/svg+xml", headers=_cached())


@router.get("/projects/{project_id}/pictures/{task_id}.jpg", response_class=Response, responses=gives("image/jpeg"))
async def picture(
    project_id: int, task_id: int, parts: Parts, kind: str = "plain", version: str | None = None
) -> Response:
    """A small version of a picture that the report shows.

    kind: plain; heat for the anomaly map over it; nearest for the learned picture that is most like it. version: whose
    report it is; of the one in charge, unless named.
    """
    make = partial(_picture, project_id, task_id, parts, kind, version)
    return await to_thread.run_sync(make, limiter=parts.thumbnails.threads)


def _picture(project_id: int, task_id: int, parts: Services, kind: str, version: str | None) -> Response:
    find = view.evaluation_of if kind == "plain" and version is None else view.measured
    evaluation = find(project_id, parts.registry, version)
    uri = _address(project_id, task_id, evaluation, parts)
    if evaluation is None or kind == "plain":
        return _jpeg(parts.thumbnails.plain(uri, project_id, task_id))
    name = evaluation["model_version"]
    detector = parts.registry.detector(project_id, name)
    if kind == "heat":
        return _jpeg(parts.thumbnails.heat(uri, project_id, task_id, name, detector))
    nearest = parts.thumbnails.nearest(uri, project_id, task_id, name, detector)
    return _picture(project_id, nearest, parts, "plain", name)


def _address(project_id: int, task_id: int, evaluation: Json | None, parts: Services) -> str:
    found = (evaluation and view.address(evaluation, task_id)) or next(
        (item["uri"] for item in parts.jobs.board.suggested(project_id) if item["task_id"] == task_id), None
    )
    if found is None:
        raise UnknownProject(f"project {project_id}'s report does not show the picture of task {task_id}")
    return str(found)


def _jpeg(content: bytes) -> Response:
    return Response(content, media_type="image/jpeg", headers=_cached())


@router.get("/projects/{project_id}/events", response_class=Response, responses=gives("text/event-stream"))
def events(project_id: int, request: Request, parts: Parts) -> StreamingResponse:
    """The status as server-sent events while work goes on, then `done`."""
    known_project(project_id, parts)

    async def stream() -> AsyncIterator[str]:
        while not await request.is_disconnected():
            status = await run_in_threadpool(project_status, project_id, parts)
            yield f"event: status\ndata: {json.dumps(status)}\n\n"
            if not status["pending"]:
                yield "event: done\ndata: {}\n\n"
                return
            await asyncio.sleep(EVERY_SECONDS)

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@router.post("/projects/{project_id}/promote", include_in_schema=False)
def promote(project_id: int, form: Form, parts: Parts, user: User) -> RedirectResponse:
    """Puts another version in charge. The one it replaces does not come back until the labels change."""
    put_in_charge(project_id, form.get("version", ""), parts, user)
    return RedirectResponse(f"../{project_id}", status_code=303)


@router.post("/projects/{project_id}/rule", include_in_schema=False)
def rule(project_id: int, form: Form, parts: Parts, user: User) -> RedirectResponse:
    """Chooses the project's false-alarm rate, or goes back to the one before."""
    if "undo" in form:
        chosen = [rule["alarm_rate"] for rule in parts.registry.rules(project_id)]
        follow_rate(project_id, chosen[-2] if len(chosen) > 1 else None, parts, user)
    else:
        follow_rate(project_id, _rate(form.get("alarm_rate", "")), parts, user)
    return RedirectResponse(f"../{project_id}", status_code=303)


@router.get("/projects/{project_id}/cases.csv", response_class=Response, responses=gives("text/csv"))
def cases(project_id: int, parts: Parts, version: str | None = None) -> Response:
    """Every confirmed picture kept for testing, one a line. version: the one in charge, unless named.

    cross_fitted: it was learned, for want of others or as a copy, but scored by a memory that had not seen it.
    """
    found = view.measured(project_id, parts.registry, version)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, extrasaction="ignore")
    writer.writeheader()
    rows = (case | {"uri": shown(case["uri"])} for case in found["cases"])
    writer.writerows({name: _plain_cell(row.get(name)) for name in FIELDS} for row in rows)
    return _download(buffer.getvalue().encode(), "text/csv", f"{found['model_version']}-cases.csv")


@router.get("/projects/{project_id}/model", response_class=Response, responses=gives("application/octet-stream"))
def model(project_id: int, parts: Parts, version: str | None = None) -> Response:
    """A model, as `label-studio-anomaly predict` reads it. version: the one in charge, unless named."""
    name = view.measured(project_id, parts.registry, version)["model_version"]
    content = parts.registry.detector(project_id, name).to_bytes()
    return _download(content, "application/octet-stream", f"{name}.safetensors")


def _rate(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise NotPossible(f"{text[:20]!r} is not a false-alarm rate such as 0.05") from error


def _plain_cell(value: Any) -> Any:
    """Text that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


def _download(content: bytes, kind: str, name: str) -> Response:
    return Response(content, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _cached() -> dict[str, str]:
    return {"Cache-Control": "private, max-age=300"}
