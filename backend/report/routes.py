"""Routes of the report. Everything is behind the protocol's password; changes need a token of the page too."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Cookie, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from jinja2 import Environment, PackageLoader, select_autoescape

from backend.access import Parts, User, authenticate, known_project, may_change
from backend.actions import follow_rate, put_in_charge
from backend.errors import NotAllowed, NotPossible, UnknownProject
from backend.services import Services
from backend.status import project_status

Json = dict[str, Any]

SHOWN = 12
EVERY_SECONDS = 0.5
COOKIE = "anomaly_page"
FIELDS = ("task_id", "uri", "split", "confirmed", "predicted", "score", "raw_score", "p_value", "independent")


async def _form(request: Request, token: Annotated[str | None, Cookie(alias=COOKIE)] = None) -> dict[str, str]:
    """The fields of one of our own forms. Raises NotAllowed for those of another site."""
    fields = parse_qs((await request.body()).decode(errors="replace"))
    form = {name: values[0] for name, values in fields.items()}
    if not token or not secrets.compare_digest(form.get("token", "").encode(), token.encode()):
        raise NotAllowed("this page is too old: load it again")
    return form


Form = Annotated[dict[str, str], Depends(_form)]

router = APIRouter(dependencies=[Depends(authenticate)], include_in_schema=False)

pages = Environment(loader=PackageLoader("backend.report"), autoescape=select_autoescape(), trim_blocks=True)
pages.filters["when"] = lambda text: f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"


def projects_page(parts: Services) -> HTMLResponse:
    """All projects, each with one sentence."""
    found = [_status(project_id, parts) for project_id in parts.registry.projects()]
    return HTMLResponse(pages.get_template("projects.html").render(projects=found))


@router.get("/projects/{project_id}")
def project_page(
    project_id: int, parts: Parts, user: User, token: Annotated[str | None, Cookie(alias=COOKIE)] = None
) -> HTMLResponse:
    """One project: where it stands, how well it does, where it errs."""
    known_project(project_id, parts)
    status = _status(project_id, parts)
    evaluation = _evaluation(project_id, parts)
    versions = list(_versions(project_id, parts))
    rules = parts.registry.rules(project_id)
    token = token or secrets.token_urlsafe(24)
    text = pages.get_template("project.html").render(
        status=status,
        evaluation=evaluation,
        parts=[evaluation[name] for name in ("held_out", "dev", "test")] if evaluation else [],
        galleries=_galleries(evaluation["cases"]) if evaluation else [],
        versions=versions,
        measured_versions=sum(version["false_alarm_rate"] is not None for version in versions),
        promotions=parts.registry.promotions(project_id),
        rule=rules[-1] if rules else None,
        in_force=_in_force(evaluation) if evaluation else 0,
        slider=_slider(evaluation) if evaluation else {},
        may_change=may_change(user, parts),
        next_step=_next_step(status, evaluation),
        studio_url=parts.settings.public_studio_url,
        token=token,
    )
    page = HTMLResponse(text)
    page.set_cookie(COOKIE, token, httponly=True, samesite="strict")
    return page


@router.get("/projects/{project_id}/plots/{name}.svg")
def plot(project_id: int, name: str, parts: Parts) -> Response:
    from backend.report import figures  # matplotlib takes a second to load: only for those who look

    evaluation = _evaluation(project_id, parts)
    if evaluation is None:
        raise UnknownProject(f"project {project_id} has no model yet, so there is nothing to plot")
    match name:
        case "histogram":
            content = figures.histogram(evaluation["cases"])
        case "curves":
            content = figures.curves(evaluation["cases"])
        case "versions":
            content = figures.versions(list(_versions(project_id, parts)))
        case "drift" if evaluation.get("drift"):
            content = figures.drift(evaluation["drift"])
        case _:
            raise UnknownProject(f"project {project_id} has no plot {name!r}")
    return Response(content, media_type="image/svg+xml", headers=_cached())


@router.get("/projects/{project_id}/pictures/{task_id}.jpg")
def picture(project_id: int, task_id: int, parts: Parts, kind: str = "plain") -> Response:
    """A small version of a confirmed or new picture. kind: plain, or heat for the anomaly map over it."""
    evaluation = _evaluation(project_id, parts)
    uri = _address(evaluation, task_id) if evaluation else None
    if evaluation is None or uri is None:
        raise UnknownProject(f"project {project_id} has no confirmed or new picture of task {task_id}")
    if kind == "heat":
        version = evaluation["model_version"]
        detector = parts.registry.detector(project_id, version)
        content = parts.thumbnails.heat(uri, task_id, detector, key=f"{project_id}-{task_id}-{version}")
    else:
        content = parts.thumbnails.plain(uri, task_id, key=f"{project_id}-{task_id}")
    return Response(content, media_type="image/jpeg", headers=_cached())


@router.get("/projects/{project_id}/events")
def events(project_id: int, request: Request, parts: Parts) -> StreamingResponse:
    """The status as server-sent events while work goes on, then `done`."""
    known_project(project_id, parts)

    async def stream() -> AsyncIterator[str]:
        while not await request.is_disconnected():
            status = await run_in_threadpool(_status, project_id, parts)
            yield f"event: status\ndata: {json.dumps(status)}\n\n"
            if not status["pending"]:
                yield "event: done\ndata: {}\n\n"
                return
            await asyncio.sleep(EVERY_SECONDS)

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@router.post("/projects/{project_id}/promote")
def promote(project_id: int, form: Form, parts: Parts, user: User) -> RedirectResponse:
    """Puts another version in charge. The one it replaces does not come back until the labels change."""
    put_in_charge(project_id, form.get("version", ""), parts, user)
    return RedirectResponse(f"../{project_id}", status_code=303)


@router.post("/projects/{project_id}/rule")
def rule(project_id: int, form: Form, parts: Parts, user: User) -> RedirectResponse:
    """Chooses the project's false-alarm rate, or goes back to the one before."""
    if "undo" in form:
        chosen = [rule["alarm_rate"] for rule in parts.registry.rules(project_id)]
        follow_rate(project_id, chosen[-2] if len(chosen) > 1 else None, parts, user)
    else:
        follow_rate(project_id, _rate(form.get("alarm_rate", "")), parts, user)
    return RedirectResponse(f"../{project_id}", status_code=303)


@router.get("/projects/{project_id}/cases.csv")
def cases(project_id: int, parts: Parts) -> Response:
    """Every confirmed picture that was not learned, one a line."""
    evaluation = _evaluation(project_id, parts)
    found = evaluation["cases"] if evaluation else []
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, extrasaction="ignore")
    writer.writeheader()
    writer.writerows({name: _plain_cell(case[name]) for name in FIELDS} for case in found)
    return _download(buffer.getvalue().encode(), "text/csv", f"project-{project_id}-cases.csv")


@router.get("/projects/{project_id}/model")
def model(project_id: int, parts: Parts) -> Response:
    """The model in charge, as `label-studio-anomaly predict` reads it."""
    known_project(project_id, parts)
    version = parts.registry.current(project_id)
    if version is None:
        raise UnknownProject(f"project {project_id} has no model yet")
    content = parts.registry.detector(project_id, version).to_bytes()
    return _download(content, "application/octet-stream", f"{version}.safetensors")


def _rate(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise NotPossible(f"{text[:20]!r} is not a false-alarm rate such as 0.05") from error


def _in_force(evaluation: Json) -> int:
    """Which of the choices is the threshold as it is."""
    rates = [choice["alarm_rate"] for choice in evaluation.get("choices", ())]
    rate = evaluation["threshold"]["alarm_rate"]
    return rates.index(rate) if rate in rates else 0


def _slider(evaluation: Json) -> Json:
    """What the page's script needs of it."""
    fields = ("task_id", "raw_score", "confirmed")
    return {
        "cases": [{name: case[name] for name in fields} for case in evaluation["cases"]],
        "choices": [{"raw_score": choice["raw_score"]} for choice in evaluation.get("choices", ())],
        "in_force": _in_force(evaluation),
    }


def _address(evaluation: Json, task_id: int) -> str | None:
    newest = {str(item["task_id"]): str(item["uri"]) for item in evaluation.get("newest", ())}
    known: dict[str, str] = newest | evaluation["pictures"]
    return known.get(str(task_id))


def _status(project_id: int, parts: Services) -> Json:
    return project_status(project_id, parts.registry, parts.jobs.board, parts.settings)


def _evaluation(project_id: int, parts: Services) -> Json | None:
    version = parts.registry.current(project_id)
    return parts.registry.evaluation(project_id, version) if version else None


def _galleries(cases: list[Json]) -> list[Json]:
    """Where it errs, and where it nearly does."""

    def having(confirmed: str, predicted: str) -> list[Json]:
        return [case for case in cases if (case["confirmed"], case["predicted"]) == (confirmed, predicted)]

    alarms = sorted(having("normal", "abnormal"), key=lambda case: -case["score"])
    misses = sorted(having("abnormal", "normal"), key=lambda case: case["score"])
    close = sorted(cases, key=lambda case: abs(case["score"] - 0.5))
    rows = [
        ("False alarms", "Confirmed normal, called abnormal; the worst first.", alarms),
        ("Misses", "Confirmed abnormal, called normal; the worst first.", misses),
        ("Closest to the threshold", "A little more or less, and the verdict would be another.", close),
    ]
    return [{"title": title, "text": text, "total": len(found), "cases": found[:SHOWN]} for title, text, found in rows]


def _versions(project_id: int, parts: Services) -> Iterator[Json]:
    for version in reversed(parts.registry.versions(project_id)):
        held_out = (parts.registry.evaluation(project_id, version.name) or {}).get("held_out") or {}
        yield {
            "name": version.name,
            "created_at": version.created_at,
            "normals": version.normals,
            "auroc": (held_out.get("auroc") or {}).get("value"),
            "false_alarm_rate": (held_out.get("false_alarm_rate") or {}).get("value"),
            "recall": (held_out.get("recall") or {}).get("value"),
        }


def _next_step(status: Json, evaluation: Json | None) -> str:
    """The one thing that helps most now."""
    if status["error"]:
        return "Mend what the line above says; everything else goes on by itself."
    if status["normals_needed"]:
        return f"Tag {status['normals_needed']} more pictures as normal in Label Studio."
    if evaluation is None:
        return "Wait a moment: the first training comes by itself."
    if status["disputed"]:
        return "Settle the tasks on which people disagree."
    if any(item["set_aside"] for item in evaluation["recheck"]):
        return "Check the normal pictures that were set aside, below."
    if status["normals"] < 20:
        return "Tag more pictures as normal: from 20 on, some are kept to test the model with."
    if evaluation["held_out"]["abnormals"] < 10:
        return "Confirm abnormal pictures when you see some: ten show how many the model finds."
    if status["problems"]:
        return "See why some pictures could not be used, below."
    return "Go on labelling; review the pictures closest to the threshold first."


def _plain_cell(value: Any) -> Any:
    """Text that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


def _download(content: bytes, kind: str, name: str) -> Response:
    return Response(content, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _cached() -> dict[str, str]:
    return {"Cache-Control": "private, max-age=300"}
