"""What a project leaves behind: a webhook when its backend is removed, models when it is deleted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from backend.errors import StudioRefused
from backend.registry import Registry, now
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
    are kept.
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
        end = datetime.fromisoformat(since) + timedelta(days=forget_days)
        if datetime.fromisoformat(now()) >= end:
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
    return project


def is_connected(studio: Studio, registry: Registry, project_id: int, known: Json, backends: Sequence[Json]) -> bool:
    """Whether the project still has an ML backend. Webhooks that a removed one left behind are removed too.

    known: what the registry knows of it. backends: those that Label Studio knows.
    """
    urls = sorted(backend["url"].rstrip("/") for backend in backends)
    before = known.get("backends", [])
    gone = {f"{url}/webhook" for url in before if url not in urls}
    if gone:
        for hook in studio.webhooks(project_id):
            if hook["url"] in gone:
                studio.delete_webhook(hook["id"])
                log.info("project %s: the backend was removed, and now its webhook too", project_id)
    if urls and urls != before:
        registry.note(project_id, backends=urls)
    return bool(urls) or not before
