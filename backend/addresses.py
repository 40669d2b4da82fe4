"""Pictures' addresses as they are saved with evaluations and suggestions.

A data: address is the picture itself, of any size: only what tells whether it was changed is saved of it.
"""

from __future__ import annotations

import hashlib

_STAND_IN = "data:sha256,"


def saved(uri: str) -> str:
    """The address, or a stand-in for one that is a picture itself."""
    if not uri.startswith("data:"):
        return uri
    return _STAND_IN + hashlib.sha256(uri.encode()).hexdigest()


def is_stand_in(uri: str) -> bool:
    """Whether the picture must be asked for by its task."""
    return uri.startswith(_STAND_IN)
