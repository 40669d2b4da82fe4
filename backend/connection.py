"""What a project of Label Studio keeps of this backend: its address, its webhooks and its title."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from backend.naming import UNTRAINED, is_ours
from backend.registry import Registry
from backend.settings import WEBHOOK_HEADER, Settings
from backend.studio import Studio

log = logging.getLogger(__name__)

Json = dict[str, Any]


def webhook_url(backend_url: str) -> str:
    """Where Label Studio sends events once a backend of this address is connected."""
    return f"{backend_url.rstrip('/')}/webhook"


def our_backends(backends: Sequence[Json]) -> list[Json]:
    """Without those that have told Label Studio another model's version; one that has told none may be this one."""
    return [backend for backend in backends if not backend.get("model_version") or is_ours(backend["model_version"])]


class Connection:
    """Puts right what differs, and changes nothing else: every change comes back as an event."""

    def __init__(self, settings: Settings, studio: Studio, registry: Registry) -> None:
        self._settings = settings
        self._studio = studio
        self._registry = registry

    def sign_webhooks(self, project_id: int, backends: Sequence[Json]) -> None:
        """Gives Label Studio's webhooks to this backend the secret header that the server asks for."""
        secret = self._settings.webhook_secret.get_secret_value()
        if not secret:
            return
        urls = {webhook_url(backend["url"]) for backend in backends}
        for hook in self._studio.webhooks(project_id):
            if hook["url"] in urls and hook.get("headers") != {WEBHOOK_HEADER: secret}:
                self._studio.set_webhook_headers(hook["id"], {WEBHOOK_HEADER: secret})

    def announce(self, project: Json, backends: Sequence[Json], version: str) -> None:
        """Keeps the backend's title equal to the version: Label Studio then sorts by this version's scores."""
        ours = self._ours(project["id"], backends)
        if ours is None:
            return
        if ours.get("title") != version:
            self._studio.rename_backend(
                ours,
                version,
                self._settings.basic_auth_user,
                self._settings.basic_auth_pass.get_secret_value(),
            )
            project = self._studio.project(project["id"])  # it may have moved along
        if project.get("model_version") != version:
            self._studio.set_model_version(project["id"], version)

    def _ours(self, project_id: int, backends: Sequence[Json]) -> Json | None:
        """Which of the project's backends is this one, by the version that it told; None where that is in doubt."""
        if len(backends) < 2:
            return next(iter(backends), None)
        known = {found.name for found in self._registry.versions(project_id)}
        trained = [backend for backend in backends if backend.get("model_version") in known]
        untrained = [backend for backend in backends if backend.get("model_version") == UNTRAINED]
        if trained or len(untrained) == 1:
            return (trained or untrained)[0]
        log.warning("project %s: which of its %s ML backends is this one cannot be told", project_id, len(backends))
        return None
