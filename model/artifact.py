"""Saved models: one safetensors file whose header carries the settings as JSON. Loading runs no code.

The format is versioned: a file from a newer release is refused with a clear error, one from an older release
is read as long as READABLE names it.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from model.errors import ArtifactInvalid

FORMAT = 8
READABLE = frozenset((7, 8))
KEY = "label-studio-anomaly"

Arrays = dict[str, NDArray[Any]]


def to_bytes(meta: dict[str, Any], arrays: Arrays) -> bytes:
    """Packs `meta` (JSON-able) and named arrays into one file's content."""
    header = json.dumps({"format": FORMAT, **meta}, sort_keys=True)
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, {KEY: header})


def from_bytes(content: bytes) -> tuple[dict[str, Any], Arrays]:
    """The inverse of to_bytes. Raises ArtifactInvalid on anything that to_bytes did not write."""
    try:
        arrays = load(content)
        (length,) = struct.unpack("<Q", content[:8])
        meta = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][KEY])
    except (SafetensorError, KeyError, ValueError, struct.error) as error:
        raise ArtifactInvalid(f"not a saved model, or a damaged one: {error}; train it again") from error
    found = meta.get("format") if isinstance(meta, dict) else None
    if found in READABLE:
        return meta, arrays
    if isinstance(found, int) and found > max(READABLE):
        raise ArtifactInvalid(
            "the model was saved by a newer release of label-studio-anomaly: update it, or train the model again"
        )
    raise ArtifactInvalid("the model was saved by an earlier release of label-studio-anomaly: train it again")
