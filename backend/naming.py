"""What our model versions are called, so that their predictions are told from those of other models."""

from __future__ import annotations

import hashlib
import re

UNTRAINED = "untrained"
"""What is told where there is no model yet."""

_OURS = re.compile(r"normal-\d+-[0-9a-f]{8}")


def name_of(normals: int, depends_on: str) -> str:
    """The name of a version. normals: pictures that it was given. depends_on: names all that it depends on."""
    digest = hashlib.sha256(depends_on.encode()).hexdigest()
    return f"normal-{normals}-{digest[:8]}"


def is_ours(model_version: str | None) -> bool:
    """Whether we gave a prediction or a backend its model version; those of versions deleted since are ours too."""
    return model_version == UNTRAINED or _OURS.fullmatch(str(model_version)) is not None
