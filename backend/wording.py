"""What is wrong with a value, in plain words instead of the validator's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WORDS = {
    "missing": "is missing",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
    "json_invalid": "is not valid JSON",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
}


def in_words(fault: Mapping[str, Any]) -> str:
    """One of the errors of a pydantic ValidationError, as people say it."""
    words = WORDS.get(fault["type"], "")
    return words.format(**fault.get("ctx") or {}) or str(fault["msg"]).removeprefix("Value error, ")
