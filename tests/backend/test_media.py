from __future__ import annotations

import base64
import socket

import pytest

from backend.errors import MediaUnavailable
from backend.media import Media
from backend.settings import Settings
from tests.conftest import PictureServer


def fetch(settings: Settings, uri: str, **changes: object) -> bytes:
    return Media(settings.model_copy(update=changes)).fetch(uri, task_id=1)


def test_the_token_goes_to_label_studio(settings: Settings, picture_server: PictureServer) -> None:
    picture_server.contents["/data/upload/a.jpg"] = b"picture"
    assert fetch(settings, "/data/upload/a.jpg") == b"picture"
    assert picture_server.asked == [("/data/upload/a.jpg", f"Token {'f' * 40}")]


def test_the_token_goes_nowhere_else(settings: Settings, picture_server: PictureServer) -> None:
    picture_server.contents["/a.jpg"] = b"picture"
    elsewhere = picture_server.url.replace("127.0.0.1", "localhost")
    assert fetch(settings, f"{elsewhere}/a.jpg", media_hosts=("localhost",), media_allow_private=True) == b"picture"
    assert picture_server.asked == [("/a.jpg", None)]


def test_a_redirect_takes_no_token_along(settings: Settings, picture_server: PictureServer) -> None:
    elsewhere = picture_server.url.replace("127.0.0.1", "localhost")
    picture_server.redirects["/data/upload/a.jpg"] = f"{elsewhere}/b.jpg"
    picture_server.contents["/b.jpg"] = b"picture"
    assert fetch(settings, "/data/upload/a.jpg", media_allow_private=True) == b"picture"
    assert picture_server.asked[-1] == ("/b.jpg", None)


def test_a_redirect_into_the_private_network_is_refused(settings: Settings, picture_server: PictureServer) -> None:
    picture_server.redirects["/data/upload/a.jpg"] = "http://localhost:1/secret"
    with pytest.raises(MediaUnavailable, match="private network"):
        fetch(settings, "/data/upload/a.jpg")


def test_endless_redirects_end(settings: Settings, picture_server: PictureServer) -> None:
    picture_server.redirects["/loop"] = "/loop"
    with pytest.raises(MediaUnavailable, match="redirects too often"):
        fetch(settings, "/loop")


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:1/x",
        "http://[::1]:1/x",
        "http://2130706433/x",
        "http://0x7f.1/x",
        "http://10.0.0.1/x",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:127.0.0.1]/x",
    ],
)
def test_private_addresses_are_refused_however_they_are_written(settings: Settings, uri: str) -> None:
    with pytest.raises(MediaUnavailable, match="private network"):
        fetch(settings, uri, media_hosts=("*",))


@pytest.mark.parametrize(
    "uri", ["file:///etc/passwd", "ftp://example.org/a.jpg", "gopher://example.org", "javascript:1"]
)
def test_only_http_is_fetched(settings: Settings, uri: str) -> None:
    with pytest.raises(MediaUnavailable, match="only http"):
        fetch(settings, uri, media_hosts=("*",))


def test_unknown_hosts_are_refused(settings: Settings) -> None:
    with pytest.raises(MediaUnavailable, match="MEDIA_HOSTS"):
        fetch(settings, "https://example.org/a.jpg")


def test_too_large_and_too_slow(settings: Settings, picture_server: PictureServer) -> None:
    picture_server.contents["/big"] = b"x" * 2000
    picture_server.contents["/slow"] = b"x"
    picture_server.delays["/slow"] = 1.0
    with pytest.raises(MediaUnavailable, match=r"larger than 0\.001 MB"):
        fetch(settings, "/big", media_max_mb=0.001)
    with pytest.raises(MediaUnavailable, match=r"within 0\.2 s"):
        fetch(settings, "/slow", media_timeout=0.2)


def test_label_studio_gone(settings: Settings) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(MediaUnavailable, match="cannot be reached"):
            fetch(settings, "/data/upload/a.jpg", label_studio_url=address)


def test_inline_pictures(settings: Settings) -> None:
    assert fetch(settings, "data:image/png;base64," + base64.b64encode(b"picture").decode()) == b"picture"
    with pytest.raises(MediaUnavailable):
        fetch(settings, "data:image/png;base64,***")


def test_cloud_addresses_are_resolved_by_label_studio(settings: Settings, picture_server: PictureServer) -> None:
    encoded = base64.urlsafe_b64encode(b"s3://bucket/a.jpg").decode()
    picture_server.contents[f"/tasks/1/presign/?fileuri={encoded.replace('=', '%3D')}"] = b"picture"
    assert fetch(settings, "s3://bucket/a.jpg") == b"picture"
