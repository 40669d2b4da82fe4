"""Sticky train / dev / test membership.

A picture's part is decided once and for good by a hash of its group (all pictures of one physical part, say)
or, without a group, of its own key. Nothing is stored: the same picture lands on the same side on every
machine, after every restart, whatever else is added or removed.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum


class Split(StrEnum):
    TRAIN = "train"
    DEV = "dev"
    TEST = "test"


DEV_SHARE = 0.15
TEST_SHARE = 0.15


def split_of(key: str, *, has_abnormal: bool) -> Split:
    """The side that the group (or single picture) `key` is on.

    has_abnormal: whether the group holds an abnormal picture. Such a group is never trained on, so that no
    part is on two sides: it goes to dev or test, half and half. All others go 70 / 15 / 15.
    """
    position = _position(key)
    if position < TEST_SHARE:
        return Split.TEST
    if position < TEST_SHARE + DEV_SHARE:
        return Split.DEV
    if not has_abnormal:
        return Split.TRAIN
    middle = (1 + TEST_SHARE + DEV_SHARE) / 2
    return Split.TEST if position < middle else Split.DEV


def _position(key: str) -> float:
    """A number in [0, 1), uniform over keys and the same everywhere."""
    digest = hashlib.sha256(key.encode(errors="surrogatepass")).digest()  # JSON may hold half a character
    return float(int.from_bytes(digest[:8], "big") / 2**64)
