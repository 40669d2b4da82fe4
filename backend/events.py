"""Label Studio's events. Of each two facts are wanted, however much comes with them: nothing else becomes an object.

A thousand imported tasks come as one event, whole; to make objects of all of it would hold up every other answer.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError


class Project(BaseModel):
    """id: as Label Studio writes it; None where the event names no project."""

    id: str | int | None = None


class Event(BaseModel):
    """What happened, such as ANNOTATION_CREATED, and to which project."""

    action: str
    project: Project = Project()


DESCRIBED: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["action"],
                    "properties": {
                        "action": {"type": "string"},
                        "project": {"type": "object", "properties": {"id": {"type": ["integer", "string", "null"]}}},
                    },
                }
            }
        },
    }
}
"""The same for /openapi.json."""


async def _read(request: Request) -> Event:
    """Raises RequestValidationError. Other types than JSON are refused: pages of other sites may send them unasked."""
    if "json" not in request.headers.get("content-type", ""):
        refusal = {"type": "content_type", "loc": ("body",), "msg": "its Content-Type must be application/json"}
        raise RequestValidationError([refusal])
    try:
        return Event.model_validate_json(await request.body())
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([fault | {"loc": ("body", *fault["loc"])} for fault in faults]) from error


Heard = Annotated[Event, Depends(_read)]
