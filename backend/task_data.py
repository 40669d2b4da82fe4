"""What a tag's value such as $image stands for in a task's data, as Label Studio's pages read it.

Variables may lead into the data, $meta.front or $pictures[0], and stand within a text, https://cameras.example/$file.
"""

from __future__ import annotations

import re
from typing import Any

_VARIABLE = re.compile(r"\$([\w.[\]{}]+)")
_STEP = re.compile(r"[^.[\]]+")


def variables(value: str) -> list[str]:
    """The variables of a tag's value, without the dollar."""
    return _VARIABLE.findall(value)


def keys(value: str) -> set[str]:
    """The keys of a task's data that the value may be read from."""
    names = variables(value)
    return {*names, *(step for name in names for step in _STEP.findall(name)[:1])}


def filled(value: str, data: dict[str, Any]) -> str | None:
    """The value with what the data has for its variables; None where one is missing or is no text."""
    found = {name: _at(name, data) for name in variables(value)}
    if not all(isinstance(part, str) for part in found.values()):
        return None
    return _VARIABLE.sub(lambda match: found[match[1]], value)


def _at(name: str, data: Any) -> Any:
    if name in data:  # a key may hold dots itself
        return data[name]
    for step in _STEP.findall(name):
        if isinstance(data, list) and step.isdecimal() and int(step) < len(data):
            data = data[int(step)]
        elif isinstance(data, dict):
            data = data.get(step)
        else:
            return None
    return data
