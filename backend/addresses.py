"""Pictures' addresses as they are saved with evaluations and suggestions, and as they name a picture.

A data: address is the picture itself, of any size: only what tells whether it was changed is saved of it.
"""

from __future__ import annotations

import hashlib
import re

_STAND_IN = "data:sha256,"
_SIGNATURE = re.compile(r"[?&](?:x-(?:amz|goog)-signature|signature|sig)=", re.IGNORECASE)
_STAMPS = re.compile(
    r"(?<=[?&])(?:x-(?:amz|goog)-[^=&#]*|signature|expires|awsaccesskeyid|googleaccessid|key-pair-id|policy"
    r"|s(?:v|s|rt|r|t|e|p|pr|ip|ig|koid|ktid|kt|ke|ks|kv))=[^&#]*&?",
    re.IGNORECASE,
)
"""What a signature consists of: of S3 and CloudFront, Google's storage and Azure's."""


def saved(uri: str) -> str:
    """The address, or a stand-in for one that is a picture itself."""
    if not uri.startswith("data:"):
        return uri
    return _STAND_IN + hashlib.sha256(uri.encode()).hexdigest()


def is_stand_in(uri: str) -> bool:
    """Whether the picture must be asked for by its task."""
    return uri.startswith(_STAND_IN)


def is_signed(uri: str) -> bool:
    """Whether it is a link that a storage has signed, most often for some hours."""
    return _SIGNATURE.search(uri) is not None


def unsigned(uri: str) -> str:
    """What names the picture: the address without its signature, which is another each time a link is made."""
    return _STAMPS.sub("", uri).rstrip("?&") if is_signed(uri) else uri
