"""Every project's state and actions as JSON, for machines; /openapi.json describes them.

Changes need the header that CHANGE_HEADER names, with any value: a browser lets no other site send one.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel, Field

from backend import answers
from backend.access import Parts, User, authenticate, known_project
from backend.actions import follow_rate, put_in_charge
from backend.comparing import compare
from backend.errors import Forbidden
from backend.report.view import measured
from backend.status import project_status

Json = dict[str, Any]

CHANGE_HEADER = "X-Requested-By"


def _meant(x_requested_by: Annotated[str | None, Header()] = None) -> None:
    if x_requested_by is None:
        raise Forbidden(f"changes need the header {CHANGE_HEADER}, with your program's name, say")


router = APIRouter(prefix="/api", dependencies=[Depends(authenticate)], tags=["projects"], responses=answers.FAULTS)
change = [Depends(_meant)]


class Promotion(BaseModel):
    """version: the name of the one to put in charge."""

    version: str


class Rule(BaseModel):
    """alarm_rate: share of normal pictures that may be called abnormal; null for the setting's."""

    alarm_rate: float | None = Field(gt=0, lt=1)


@router.get("/projects", response_model=answers.Projects)
def projects(parts: Parts) -> Json:
    """All connected projects, each with its status."""
    return {"projects": [project_status(project_id, parts) for project_id in parts.registry.projects()]}


@router.get("/projects/{project_id}", response_model=answers.Status)
def project(project_id: int, parts: Parts) -> Json:
    """Where a project stands, and what to do next."""
    known_project(project_id, parts)
    return project_status(project_id, parts)


@router.get("/projects/{project_id}/evaluation", response_model=answers.Evaluation)
def evaluation(project_id: int, parts: Parts, version: str | None = None) -> Json:
    """How well a version does on what people confirmed. version: the one in charge, unless named."""
    known_project(project_id, parts)
    return measured(project_id, parts.registry, version)


@router.get("/projects/{project_id}/compare", response_model=answers.Comparison)
def compare_versions(project_id: int, first: str, second: str, parts: Parts) -> Json:
    """Two versions on the confirmed pictures that both judged and neither had learned: where they differ."""
    known_project(project_id, parts)
    return compare(*(measured(project_id, parts.registry, name) for name in (first, second)))


@router.get("/projects/{project_id}/versions", response_model=answers.Versions)
def versions(project_id: int, parts: Parts) -> Json:
    """All versions, oldest first, and who put which in charge."""
    known_project(project_id, parts)
    found = [asdict(version) for version in parts.registry.versions(project_id)]
    return {
        "in_charge": parts.registry.current(project_id),
        "versions": found,
        "promotions": parts.registry.promotions(project_id),
    }


@router.post("/projects/{project_id}/promote", response_model=answers.Status, dependencies=change)
def promote(project_id: int, body: Promotion, parts: Parts, user: User) -> Json:
    """Puts another version in charge."""
    put_in_charge(project_id, body.version, parts, user)
    return project_status(project_id, parts)


@router.get("/projects/{project_id}/rule", response_model=answers.Rules)
def rule(project_id: int, parts: Parts) -> Json:
    """The false-alarm rate that people chose, and what was chosen before."""
    known_project(project_id, parts)
    return {"alarm_rate": parts.registry.alarm_rate(project_id), "history": parts.registry.rules(project_id)}


@router.put("/projects/{project_id}/rule", response_model=answers.Status, dependencies=change)
def set_rule(project_id: int, body: Rule, parts: Parts, user: User) -> Json:
    """Chooses the project's false-alarm rate; a training follows."""
    follow_rate(project_id, body.alarm_rate, parts, user)
    return project_status(project_id, parts)


@router.post("/projects/{project_id}/train", response_model=answers.Status, dependencies=change)
def train(project_id: int, parts: Parts) -> Json:
    """Trains with whatever is new."""
    known_project(project_id, parts)
    parts.jobs.request_sync(project_id, force=True)
    return project_status(project_id, parts)
