"""Who may ask: the password of the protocol, and the secret of the webhook."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pydantic import SecretStr

from backend.errors import Forbidden, NotAllowed, UnknownProject
from backend.services import Services
from backend.settings import WEBHOOK_HEADER


async def _services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


Parts = Annotated[Services, Depends(_services)]
Credentials = Annotated[HTTPBasicCredentials | None, Depends(HTTPBasic(auto_error=False))]


def authenticate(request: Request, parts: Parts, credentials: Credentials) -> str:
    """The name of who asks; empty where no password is asked for. Viewers may look, and change nothing."""
    if not parts.settings.basic_auth_user:
        return ""
    if _is_user(parts, credentials):
        return parts.settings.basic_auth_user
    if not _is_viewer(parts, credentials):
        raise NotAllowed("wrong or missing user and password (BASIC_AUTH_USER, BASIC_AUTH_PASS)")
    if request.method not in ("GET", "HEAD"):
        raise Forbidden(f"{parts.settings.viewer_user} may look and change nothing (VIEWER_USER)")
    return parts.settings.viewer_user


User = Annotated[str, Depends(authenticate)]


def may_change(user: str, parts: Services) -> bool:
    """Whether who asks may do more than look."""
    return user == parts.settings.basic_auth_user


async def check_webhook(request: Request, parts: Parts, credentials: Credentials) -> None:
    """Events of Label Studio carry no password; the backend gives its webhook a secret header instead."""
    secret = parts.settings.webhook_secret.get_secret_value()
    if not secret:
        return
    given = request.headers.get(WEBHOOK_HEADER, "")
    if not secrets.compare_digest(given.encode(), secret.encode()) and not _is_user(parts, credentials):
        raise NotAllowed(f"the webhook's {WEBHOOK_HEADER} header is wrong or missing (WEBHOOK_SECRET)")


def _is_user(parts: Services, credentials: HTTPBasicCredentials | None) -> bool:
    return _matches(credentials, parts.settings.basic_auth_user, parts.settings.basic_auth_pass)


def _is_viewer(parts: Services, credentials: HTTPBasicCredentials | None) -> bool:
    return _matches(credentials, parts.settings.viewer_user, parts.settings.viewer_pass)


def _matches(credentials: HTTPBasicCredentials | None, user: str, secret: SecretStr) -> bool:
    password = secret.get_secret_value()
    if not user or credentials is None:
        return False
    same_user = secrets.compare_digest(credentials.username.encode(), user.encode())
    same_password = secrets.compare_digest(credentials.password.encode(), password.encode())
    return same_user and same_password


def known_project(project_id: int, parts: Services) -> None:
    """Raises UnknownProject unless the project has connected."""
    if not parts.registry.knows(project_id):
        raise UnknownProject(f"project {project_id} is not connected: add this backend under its Model settings")
