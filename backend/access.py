"""Who may ask: the password of the protocol, and the secret of the webhook."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from backend.errors import NotAllowed, UnknownProject
from backend.services import Services
from backend.settings import WEBHOOK_HEADER


def _services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


Parts = Annotated[Services, Depends(_services)]
Credentials = Annotated[HTTPBasicCredentials | None, Depends(HTTPBasic(auto_error=False))]


def authenticate(parts: Parts, credentials: Credentials) -> None:
    if parts.settings.basic_auth_user and not _is_user(parts, credentials):
        raise NotAllowed("wrong or missing user and password (BASIC_AUTH_USER, BASIC_AUTH_PASS)")


def check_webhook(request: Request, parts: Parts, credentials: Credentials) -> None:
    """Events of Label Studio carry no password; the backend gives its webhook a secret header instead."""
    secret = parts.settings.webhook_secret.get_secret_value()
    if not secret:
        return
    given = request.headers.get(WEBHOOK_HEADER, "")
    if not secrets.compare_digest(given.encode(), secret.encode()) and not _is_user(parts, credentials):
        raise NotAllowed(f"the webhook's {WEBHOOK_HEADER} header is wrong or missing (WEBHOOK_SECRET)")


def _is_user(parts: Services, credentials: HTTPBasicCredentials | None) -> bool:
    user = parts.settings.basic_auth_user
    password = parts.settings.basic_auth_pass.get_secret_value()
    if not user or credentials is None:
        return False
    same_user = secrets.compare_digest(credentials.username.encode(), user.encode())
    same_password = secrets.compare_digest(credentials.password.encode(), password.encode())
    return same_user and same_password


def known_project(project_id: int, parts: Services) -> None:
    """Raises UnknownProject unless the project has connected."""
    if not parts.registry.knows(project_id):
        raise UnknownProject(f"project {project_id} is not connected: add this backend under its Model settings")
