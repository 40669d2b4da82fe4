"""What an answer of Label Studio's means: its content, or in words what to change."""

from __future__ import annotations

from typing import Any

import httpx

from backend.errors import StudioRefused

NOT_FOUND = 404
BAD_GATEWAY = 502
REFRESH = "/api/token/refresh"
NO_LEGACY_TOKENS = (
    "the organisation does not allow legacy tokens. Create a personal access token under Account & Settings, Personal"
    " Access Token, and set LABEL_STUDIO_API_KEY to it; or switch Legacy Tokens on under Organization, API Tokens"
    " Settings"
)
NO_ACCESS = (
    "there is no token (LABEL_STUDIO_API_KEY): create one under Account & Settings, Access Token. Label Studio shows no"
    " project without one"
)


def content_of(response: httpx.Response, method: str, path: str) -> Any:
    """The JSON of an answer to a call. Raises StudioRefused, whose text says what to change."""
    if response.next_request:
        raise StudioRefused(_elsewhere(response.next_request.url, path), response.status_code)
    if response.status_code in (401, 403):
        raise StudioRefused(
            f"Label Studio refuses {method} {path} ({response.status_code}): {_help(response)}", response.status_code
        )
    if response.status_code == NOT_FOUND and response.content and not _is_json(response):
        raise StudioRefused(_strange(response), BAD_GATEWAY)  # it says nothing of what Label Studio has
    if response.is_error:
        raise StudioRefused(
            f"Label Studio answered {response.status_code} to {method} {path}: {response.text[:300]}",
            response.status_code,
        )
    try:
        return response.json() if response.content else {}
    except ValueError as error:
        raise stranger(response) from error


def stranger(response: httpx.Response) -> StudioRefused:
    """What to raise where something else than Label Studio answers."""
    return StudioRefused(_strange(response), response.status_code)


def _strange(response: httpx.Response) -> str:
    plain = response.url.copy_with(query=None)
    return f"{plain} answers, but not as Label Studio does: check LABEL_STUDIO_URL"


def _is_json(response: httpx.Response) -> bool:
    try:
        response.json()
    except ValueError:
        return False
    return True


def _elsewhere(target: httpx.URL, path: str) -> str:
    """What to change where we are redirected: by a proxy to Label Studio's true address, or to a page for people."""
    plain = str(target.copy_with(query=None, fragment=None))
    base = plain.removesuffix(path)
    if base == plain:
        return f"LABEL_STUDIO_URL redirects to {plain}, and not as Label Studio does: check LABEL_STUDIO_URL"
    return f"LABEL_STUDIO_URL redirects to {base}: set LABEL_STUDIO_URL to that"


def _help(response: httpx.Response) -> str:
    """What to change after a refusal. Label Studio says of one reason that it is the reason."""
    if response.url.path.endswith(REFRESH):
        return (
            "the personal access token (LABEL_STUDIO_API_KEY) may have been revoked; create a new one under Account &"
            " Settings"
        )
    if "legacy token authentication has been disabled" in response.text:
        return NO_LEGACY_TOKENS
    if "authorization" not in response.request.headers:
        return NO_ACCESS
    return "LABEL_STUDIO_API_KEY must be a token of a user who may change the project"
