"""How to show Label Studio who asks: personal access tokens, exchanged for short-lived ones, and legacy tokens."""

from __future__ import annotations

import base64
import json
import threading
import time
from typing import Any

import httpx

from backend.studio_answers import REFRESH, content_of, stranger

ACCESS_SECONDS = 240


class StudioAuth(httpx.Auth):
    """Adds the Authorization header that the kind of token asks for.

    A personal access token is a refresh token: Label Studio exchanges it for one that lives five minutes. Raises
    StudioRefused where it does not.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token
        self._access = ""
        self._expires = 0.0
        self._lock = threading.Lock()

    def auth_flow(self, request: httpx.Request) -> Any:
        if not self._token:
            yield request
            return
        if not is_personal_token(self._token):
            request.headers["Authorization"] = f"Token {self._token}"
            yield request
            return
        if time.monotonic() >= self._expires:
            answer = yield httpx.Request("POST", f"{self._url}{REFRESH}", json={"refresh": self._token})
            answer.read()
            access = _access(answer)
            with self._lock:
                self._access = access
                self._expires = time.monotonic() + ACCESS_SECONDS
        request.headers["Authorization"] = f"Bearer {self._access}"
        yield request


def is_personal_token(token: str) -> bool:
    """Whether the token is a personal access token (a JWT) rather than a legacy one (40 hex digits)."""
    parts = token.split(".")
    if len(parts) != 3:
        return False
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return isinstance(json.loads(payload), dict)
    except ValueError:
        return False


def _access(answer: httpx.Response) -> str:
    content = content_of(answer, "POST", REFRESH)
    if not isinstance(content, dict) or "access" not in content:
        raise stranger(answer)
    return str(content["access"])
