"""What a project leaves behind: a webhook when its backend is removed, models when it is deleted or replaced.

Replaced: Label Studio was installed anew, or is another one now, and has given the same id to another project.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from backend.connection import webhook_url
from backend.errors import StudioRefused
from backend.registry import EARLIER, Registry, now
from backend.store import Json
from backend.studio import Studio

log = logging.getLogger(__name__)

NOT_FOUND = 404


def find_project(
    studio: Studio, registry: Registry, project_id: int, known: Json, *, forget_days: float
) -> Json | None:
    """The project as Label Studio knows it. One that it does not know is forgotten: then None.

    That is done at once where there is no model, since strangers may have made the id up, otherwise after
    `forget_days`. known: what the registry knows of it. Raises StudioRefused, in words that say until when its models
    are kept. Of another project that had the id before, the models are set aside for as long; when it is back, so are
    they.
    """
    try:
        project = studio.project(project_id)
    except StudioRefused as error:
        if error.status != NOT_FOUND:
            raise
        if not registry.has_models(project_id):
            registry.forget(project_id)
            log.warning("project %s: Label Studio has no such project, or the token may not see it", project_id)
            return None
        since = known.get("missing_since") or now()
        registry.note(project_id, missing_since=since)
        end = _end(since, forget_days)
        if _is_over(end):
            registry.forget(project_id)
            log.warning("project %s: gone from Label Studio since %s; its models are deleted", project_id, since)
            return None
        raise StudioRefused(
            f"Label Studio has no project {project_id}, or the token may not see it: its models are kept until"
            f" {end:%Y-%m-%d}",
            NOT_FOUND,
        ) from error
    if known.get("missing_since"):
        registry.note(project_id, missing_since=None)
    created_at = project.get("created_at")
    created = int(datetime.fromisoformat(created_at).timestamp()) if created_at else None
    if created and is_another(known, created):
        _set_aside(registry, project_id, known, created, forget_days)
        known = registry.project(project_id)
    if created and str(created) in known.get("set_aside", {}):
        _bring_back(registry, project_id, known, created)
        known = registry.project(project_id)
    _forget_earlier(registry, project_id, known, forget_days)
    if created and "created" not in known:
        registry.note(project_id, created=created)
    return project


def is_another(known: Json, created: int | None) -> bool:
    """Whether a project created then is surely not the one that is known. created: in seconds since 1970."""
    return created is not None and known.get("created") not in (None, created)


def _set_aside(registry: Registry, project_id: int, known: Json, created: int, forget_days: float) -> None:
    before = known["created"]
    registry.set_aside(project_id, before)
    aside = known.get("set_aside", {}) | {str(before): now()}
    registry.note(project_id, created=created, set_aside=aside)
    log.warning(
        "project %s: Label Studio has another project of this id now; the models of the one before are kept under"
        " MODEL_DIR, in %s/%s/%s, for %g days",
        *(project_id, project_id, EARLIER, before, forget_days),
    )


def _bring_back(registry: Registry, project_id: int, known: Json, created: int) -> None:
    registry.bring_back(project_id, created)
    aside = {before: since for before, since in known["set_aside"].items() if before != str(created)}
    registry.note(project_id, set_aside=aside)
    log.warning("project %s: a project whose models were set aside is back, and so are they", project_id)


def _forget_earlier(registry: Registry, project_id: int, known: Json, forget_days: float) -> None:
    aside: dict[str, str] = known.get("set_aside", {})
    kept = {before: since for before, since in aside.items() if not _is_over(_end(since, forget_days))}
    for before in aside.keys() - kept.keys():
        registry.forget_earlier(project_id, int(before))
    if kept != aside:
        registry.note(project_id, set_aside=kept)


def _end(since: str, forget_days: float) -> datetime:
    return datetime.fromisoformat(since) + timedelta(days=forget_days)


def _is_over(end: datetime) -> bool:
    return datetime.fromisoformat(now()) >= end


def is_connected(studio: Studio, registry: Registry, project_id: int, known: Json, backends: Sequence[Json]) -> bool:
    """Whether the project still has an ML backend. Webhooks that a removed one left behind are removed too.

    known: what the registry knows of it. backends: those that Label Studio knows.
    """
    urls = sorted(backend["url"].rstrip("/") for backend in backends)
    before = known.get("backends", [])
    gone = {webhook_url(url) for url in before if url not in urls}
    if gone:
        for hook in studio.webhooks(project_id):
            if hook["url"] in gone:
                studio.delete_webhook(hook["id"])
                log.info("project %s: the backend was removed, and now its webhook too", project_id)
    removed = bool(before) and not urls
    if (urls or before, removed) != (before, known.get("removed", False)):
        registry.note(project_id, backends=urls or before, removed=removed)
    return not removed
