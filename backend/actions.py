"""What people may do to a project, whichever way they ask: by the report's page or by the interface for machines."""

from __future__ import annotations

from backend.access import known_project
from backend.errors import NotPossible
from backend.services import Services


def put_in_charge(project_id: int, version: str, parts: Services, user: str) -> None:
    """Puts another version in charge. The one it replaces does not come back until the labels change."""
    known_project(project_id, parts)
    replaced = parts.registry.current(project_id)
    parts.registry.promote(project_id, version, "put in charge by hand", by=user)
    if replaced and replaced != version:
        parts.registry.pass_over(project_id, replaced)
    parts.jobs.request_sync(project_id)


def follow_rate(project_id: int, alarm_rate: float | None, parts: Services, user: str) -> None:
    """Makes a false-alarm rate the project's own, None the settings' again, and trains by it."""
    known_project(project_id, parts)
    if alarm_rate is not None and not 0 < alarm_rate < 1:
        raise NotPossible(f"a false-alarm rate lies between 0 and 1, such as 0.05; {alarm_rate:g} does not")
    parts.registry.set_alarm_rate(project_id, alarm_rate, by=user)
    parts.jobs.request_sync(project_id, force=True)
