"""No request is read further than BODY_MAX_MB, whatever length it claims to have."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOO_LARGE = 413


class BodyLimit:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, most_mb: float) -> None:
        self._app = app
        self._most = int(most_mb * 1_000_000)
        self._refusal = f"the request is larger than {most_mb:g} MB (BODY_MAX_MB)"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _claimed(scope) > self._most:
            await JSONResponse({"error": self._refusal}, TOO_LARGE)(scope, receive, send)
            return
        seen = 0

        async def counting() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._most:
                raise HTTPException(TOO_LARGE, self._refusal)
            return message

        await self._app(scope, counting, send)


def _claimed(scope: Scope) -> int:
    claims = [value for name, value in scope.get("headers", ()) if name == b"content-length"]
    return max((int(claim) for claim in claims if claim.isdigit() and len(claim) < 19), default=0)
