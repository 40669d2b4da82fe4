"""What the doctor says of a backend that Label Studio does not reach."""

from __future__ import annotations

import pytest

from backend.doctor import Ill, _reached
from tests.conftest import PictureServer


def test_a_server_that_is_down_is_told_from_one_that_label_studio_refuses(picture_server: PictureServer) -> None:
    backend = {"url": f"{picture_server.url}/", "state": "ER", "error_message": "refused"}
    with pytest.raises(Ill, match="nothing answers there either: start the server"):
        _reached([backend])
    picture_server.contents["/health"] = b'{"status": "UP", "model_class": "AnomalyDetector"}'
    with pytest.raises(Ill, match=r"where the server answers.*ML_BLOCK_LOCAL_IP"):
        _reached([backend])
