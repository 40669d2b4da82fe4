"""Projects as Label Studio names them in its requests: 7 is sent as 7, "7" or "7.1795480240"."""

from __future__ import annotations

from typing import Any

LONGEST = 18


def project_number(value: Any) -> int | None:
    """The project's id; None where it is not one."""
    return _number(str(value).partition(".")[0])


def creation_time(value: Any) -> int | None:
    """When the project was created, in seconds since 1970, where it is told: after the dot."""
    return _number(str(value).partition(".")[2])


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= LONGEST else None
