"""What people may do to a project, whichever way they ask: by the report's page or by the interface for machines."""

from __future__ import annotations

from backend.access import known_project
from backend.errors import NotPossible
from backend.services import Services
from model.errors import ArtifactInvalid


def put_in_charge(project_id: int, version: str, parts: Services, user: str) -> None:
    """Puts another version in charge. The one it replaces does not come back until the labels change."""
    known_project(project_id, parts)
    _make_sure_that_it_can_be_read(project_id, version, parts)
    replaced = parts.registry.current(project_id)
    parts.registry.promote(project_id, version, "put in charge by hand", by=user)
    if replaced and replaced != version:
        parts.registry.pass_over(project_id, replaced)
    parts.jobs.request_sync(project_id)


def _make_sure_that_it_can_be_read(project_id: int, version: str, parts: Services) -> None:
    """Those of earlier releases are still listed, for what they were worth."""
    try:
        parts.registry.detector(project_id, version, anew=True)
    except ArtifactInvalid as error:
        raise NotPossible(f"{version} cannot be put in charge: {error}") from error


def follow_rate(project_id: int, alarm_rate: float | None, parts: Services, user: str) -> None:
    """Makes a false-alarm rate the project's own, None the settings' again, and trains by it."""
    known_project(project_id, parts)
    if alarm_rate is not None and not 0 < alarm_rate < 1:
        raise NotPossible(f"a false-alarm rate lies between 0 and 1, such as 0.05; {alarm_rate:g} does not")
    parts.registry.set_alarm_rate(project_id, alarm_rate, by=user)
    parts.jobs.request_sync(project_id, force=True)
