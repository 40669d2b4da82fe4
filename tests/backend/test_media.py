from __future__ import annotations

import base64
import socket
import threading
import time
from contextlib import suppress

import httpcore
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr

from backend import patience
from backend.errors import MediaUnavailable, OutOfTime
from backend.media import Media, shown
from backend.network import is_public
from backend.settings import Settings
from tests.conftest import PERSONAL_TOKEN, PictureServer


def fetch(settings: Settings, uri: str, **changes: object) -> bytes:
    return Media(settings.model_copy(update=changes)).fetch(uri, task_id=1)


@pytest.fixture
def elsewhere(picture_server: PictureServer) -> str:
    """The same server by another name: another host."""
    return picture_server.url.replace("127.0.0.1", "localhost")


def test_the_token_goes_to_label_studio(settings: Settings, picture_server: PictureServer) -> None:
    picture_server.contents["/data/upload/a.jpg"] = b"picture"
    assert fetch(settings, "/data/upload/a.jpg") == b"picture"
    assert picture_server.asked == [("/data/upload/a.jpg", f"Token {'f' * 40}")]


def test_the_token_goes_nowhere_else(settings: Settings, picture_server: PictureServer, elsewhere: str) -> None:
    picture_server.contents["/a.jpg"] = b"picture"
    assert fetch(settings, f"{elsewhere}/a.jpg", media_hosts=("localhost",), media_allow_private=True) == b"picture"
    assert picture_server.asked == [("/a.jpg", None)]


def test_a_redirect_takes_no_token_along(settings: Settings, picture_server: PictureServer, elsewhere: str) -> None:
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
        "http://[::127.0.0.1]/x",
        "http://[64:ff9b::7f00:1]/x",
        "http://[64:ff9b::a00:1]/x",
        "http://[2002:7f00:1::]/x",
        "http://[2001:0:a00:1::]/x",
        "http://[fec0::1]/x",
        "http://[fe80::1]/x",
        "http://[fd00:ec2::254]/x",
        "http://[ff02::1]/x",
        "http://0/x",
        "http://127.1/x",
        "http://0177.0.0.1/x",
        "http://100.64.0.1/x",
        "http://224.0.0.1/x",
        "http://168.63.129.16/x",
        "http://someone@127.0.0.1/x",
        "http://①②⑦.⓪.⓪.①/x",
        "http://127。0。0。1/x",
    ],
)
def test_private_addresses_are_refused_however_they_are_written(settings: Settings, uri: str) -> None:
    with pytest.raises(MediaUnavailable, match=r"private network|not an address"):
        fetch(settings, uri, media_hosts=("*",))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_known_as_such(address: str) -> None:
    assert is_public(address)


def test_a_name_cannot_change_its_address_after_the_check(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["8.8.8.8"])
    connected: list[str] = []

    def look_up(host: str, port: int, *rest: object, **more: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers, "127.0.0.1"), port))]

    def connect(backend: object, host: str, *rest: object) -> None:
        connected.append(host)
        raise httpcore.ConnectError("this test connects nowhere")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    with pytest.raises(MediaUnavailable, match="cannot be reached"):
        fetch(settings, "http://rebinding.example/x", media_hosts=("rebinding.example",))
    assert connected == ["8.8.8.8"]
    with pytest.raises(MediaUnavailable, match="private network"):
        fetch(settings, "http://rebinding.example/x", media_hosts=("rebinding.example",))
    assert connected == ["8.8.8.8"]


def test_one_private_address_among_public_ones_is_enough_to_refuse(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *rest, **more: found)
    with pytest.raises(MediaUnavailable, match="private network"):
        fetch(settings, "http://two.example/x", media_hosts=("*",))


@pytest.mark.parametrize(
    "uri",
    [
        "/api/users",
        "/api/current-user/token",
        "/user/logout",
        "/tasks/1/presignature/",
        "/data/../api/users",
        "/data/upload/../../api/users",
        "/data/%2e%2e/api/users",
        "/data/%252e%252e/api/users",
        "/data/..%2fapi/users",
        "/data/..\\api\\users",
        "/data/local-files/?d=../../etc/passwd",
        "/data/local-files/?d=a/%2e%2e/%2e%2e/etc/passwd",
        "//data/upload/x.jpg",
    ],
)
def test_a_task_cannot_read_label_studio_with_our_token(
    settings: Settings, picture_server: PictureServer, uri: str
) -> None:
    with pytest.raises(MediaUnavailable):
        fetch(settings, uri)
    assert all(token is None for _, token in picture_server.asked)


def test_label_studio_below_a_folder_gets_the_token_for_its_pictures(
    settings: Settings, picture_server: PictureServer
) -> None:
    picture_server.contents["/studio/data/upload/a.jpg"] = b"picture"
    below = f"{picture_server.url}/studio"
    assert fetch(settings, "/studio/data/upload/a.jpg", label_studio_url=below) == b"picture"
    assert picture_server.asked == [("/studio/data/upload/a.jpg", f"Token {'f' * 40}")]


def test_a_picture_that_is_gone_is_not_blamed_on_the_path_that_label_studio_is_below(
    settings: Settings, picture_server: PictureServer
) -> None:
    with pytest.raises(MediaUnavailable, match=r"does not exist \(404\)$"):
        fetch(settings, "/studio/data/upload/a.jpg", label_studio_url=f"{picture_server.url}/studio")


def test_a_page_of_label_studio_cannot_send_us_to_hosts_that_are_not_allowed(
    settings: Settings, picture_server: PictureServer, elsewhere: str
) -> None:
    picture_server.redirects["/user/login/?next=x"] = f"{elsewhere}/b.jpg"
    with pytest.raises(MediaUnavailable, match="MEDIA_HOSTS"):
        fetch(settings, "/user/login/?next=x", media_allow_private=True)


PUBLIC = "https://ls.factory.example/studio"


@pytest.mark.parametrize(
    ("public", "uri"),
    [
        ("http://ls.factory.example", "http://ls.factory.example/data/local-files/?d=a%20b/x.jpg"),
        ("http://ls.factory.example", "http://LS.factory.example:80/data/local-files/?d=a%20b/x.jpg"),
        ("http://ls.factory.example:8080", "http://ls.factory.example:8080/data/local-files/?d=a%20b/x.jpg"),
        (PUBLIC, f"{PUBLIC}/data/local-files/?d=a%20b/x.jpg"),
        (PUBLIC, "/studio/data/local-files/?d=a%20b/x.jpg"),
        (PUBLIC, "/data/local-files/?d=a%20b/x.jpg"),
    ],
)
def test_what_people_see_at_the_public_address_is_asked_of_label_studio_itself(
    settings: Settings, picture_server: PictureServer, public: str, uri: str
) -> None:
    picture_server.contents["/data/local-files/?d=a%20b/x.jpg"] = b"picture"
    assert fetch(settings, uri, label_studio_public_url=public) == b"picture"
    assert picture_server.asked == [("/data/local-files/?d=a%20b/x.jpg", f"Token {'f' * 40}")]


def test_a_cloud_picture_that_label_studio_names_by_its_public_address(
    settings: Settings, picture_server: PictureServer, elsewhere: str
) -> None:
    picture_server.redirects["/studio/tasks/7/resolve/?fileuri=czM6Ly9i"] = f"{elsewhere}/signed.jpg"
    picture_server.contents["/signed.jpg"] = b"picture"
    changes = {"label_studio_public_url": PUBLIC, "label_studio_url": f"{picture_server.url}/studio"}
    uri = f"{PUBLIC}/tasks/7/resolve/?fileuri=czM6Ly9i"
    assert fetch(settings, uri, media_allow_private=True, **changes) == b"picture"
    assert [token is not None for _, token in picture_server.asked] == [True, False]


@pytest.mark.parametrize(
    "uri",
    [
        "http://ls.factory.example/studio/data/upload/a.jpg",
        "https://ls.factory.example:8443/studio/data/upload/a.jpg",
        "https://ls.factory.example/data/upload/a.jpg",
        "https://ls.factory.example/studious/data/upload/a.jpg",
        "https://ls.factory.example/studio/../data/upload/a.jpg",
        "https://ls.factory.example.evil.example/studio/data/upload/a.jpg",
        "https://evil-ls.factory.example/studio/data/upload/a.jpg",
        "https://ls.factory.example@evil.example/studio/data/upload/a.jpg",
        "https://evil.example/https://ls.factory.example/studio/data/upload/a.jpg",
        "//evil.example/studio/data/upload/a.jpg",
    ],
)
def test_what_only_looks_like_the_public_address_is_a_stranger(
    settings: Settings, picture_server: PictureServer, uri: str
) -> None:
    with pytest.raises(MediaUnavailable, match=r"not allowed.*LABEL_STUDIO_PUBLIC_URL|not an address"):
        fetch(settings, uri, label_studio_public_url=PUBLIC)
    assert picture_server.asked == []


@pytest.mark.parametrize(
    "path", ["api/users", "data/../api/users", "data/%2e%2e/api/users", "data/local-files/?d=../../etc/passwd"]
)
def test_the_public_address_opens_no_other_page_either(
    settings: Settings, picture_server: PictureServer, path: str
) -> None:
    with pytest.raises(MediaUnavailable):
        fetch(settings, f"{PUBLIC}/{path}", label_studio_public_url=PUBLIC)
    assert all(token is None for _, token in picture_server.asked)


def test_a_redirect_to_the_public_address_takes_no_token_along(
    settings: Settings, picture_server: PictureServer, elsewhere: str
) -> None:
    picture_server.contents["/data/upload/a.jpg"] = b"picture"
    picture_server.redirects["/data/upload/moved.jpg"] = f"{elsewhere}/data/upload/a.jpg"
    changes = {"label_studio_public_url": elsewhere, "media_allow_private": True}
    assert fetch(settings, "/data/upload/moved.jpg", **changes) == b"picture"
    assert picture_server.asked[-1] == ("/data/upload/a.jpg", None)


@pytest.mark.parametrize(
    "uri",
    ["http://[", "http://[::1", "http://a:b:c/", "http://a:99999/", "http://\x00/", "/data/\x00", "http://", "//["],
)
def test_what_is_no_address_is_refused(settings: Settings, uri: str) -> None:
    with pytest.raises(MediaUnavailable):
        fetch(settings, uri, media_hosts=("*",), media_timeout=1.0)


def test_any_text_for_an_address_is_refused_in_words(settings: Settings) -> None:
    media = Media(settings.model_copy(update={"label_studio_url": "http://127.0.0.1:1"}))

    @given(st.text(max_size=60) | st.text(max_size=60).map(lambda text: f"http://{text}"))
    @hypothesis_settings(max_examples=300, deadline=None)
    def refused(uri: str) -> None:
        with pytest.raises(MediaUnavailable):
            media.fetch(uri, task_id=1)

    refused()


def test_neither_password_nor_signature_of_an_address_is_told(settings: Settings) -> None:
    with pytest.raises(MediaUnavailable) as refusal:
        fetch(settings, "https://someone:hidden@example.org/a.jpg?X-Amz-Signature=hidden#hidden")
    assert "hidden" not in str(refusal.value)
    assert shown("https://someone:hidden@example.org/a.jpg?X-Amz-Signature=hidden") == "https://example.org/a.jpg"


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_picture_that_drips_is_given_up_in_time(settings: Settings, part: str) -> None:
    """Every read succeeds within the timeout; all of them together would take minutes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.recv(1000)
                if part == "body":
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                else:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
                for _ in range(100):
                    connection.sendall(b"x")
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(MediaUnavailable, match=r"within 0\.5 s"):
            fetch(settings, "/data/upload/a.jpg", label_studio_url=address, media_timeout=0.5)
        assert time.monotonic() - started < 3


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


def test_a_host_that_hangs_is_not_waited_for_again_and_again(
    settings: Settings, picture_server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = Media(settings.model_copy(update={"media_timeout": 0.3}))
    places = [(f"/data/upload/{number}.jpg", number) for number in range(40)]
    picture_server.delays = {uri: 1.0 for uri, _ in places}
    started = time.monotonic()
    reasons = [str(item) for item in media.fetch_each(places)]
    assert time.monotonic() - started < 2
    assert len(picture_server.asked) < 10
    assert "did not come within 0.3 s" in reasons[0]
    assert "127.0.0.1 has kept us waiting" in reasons[-1]
    assert "MEDIA_TIMEOUT" in reasons[-1]
    picture_server.delays.clear()
    picture_server.contents = {uri: b"picture" for uri, _ in places}
    monkeypatch.setattr(patience, "REST_SECONDS", 0.0)  # the minute is over
    assert list(media.fetch_each(places)) == [b"picture"] * 40


def test_a_host_that_is_slow_now_and_then_is_asked_on(settings: Settings, picture_server: PictureServer) -> None:
    media = Media(settings.model_copy(update={"media_timeout": 0.3}))
    picture_server.contents["/data/upload/quick.jpg"] = b"picture"
    picture_server.delays["/data/upload/slow.jpg"] = 1.0
    for between in ("quick", "gone"):
        for _ in range(3):
            with pytest.raises(MediaUnavailable, match="did not come within"):
                media.fetch("/data/upload/slow.jpg", task_id=1)
        with suppress(MediaUnavailable):
            media.fetch(f"/data/upload/{between}.jpg", task_id=2)
    assert media.fetch("/data/upload/quick.jpg", task_id=2) == b"picture"


def test_a_request_in_a_hurry_is_not_held_against_the_host(settings: Settings, picture_server: PictureServer) -> None:
    media = Media(settings)
    picture_server.delays["/data/upload/slow.jpg"] = 1.0
    for _ in range(5):
        with pytest.raises(OutOfTime):
            media.fetch("/data/upload/slow.jpg", 1, time.monotonic() + 0.1)
    with pytest.raises(MediaUnavailable, match="does not exist"):
        media.fetch("/data/upload/gone.jpg", 2)


def test_label_studio_gone(settings: Settings) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(MediaUnavailable, match="cannot be reached"):
            fetch(settings, "/data/upload/a.jpg", label_studio_url=address)


@pytest.mark.parametrize(
    ("status", "told"),
    [(401, "may have been revoked"), (403, "may have been revoked"), (503, "answered 503 to POST /api/token/refresh")],
)
def test_a_personal_token_that_cannot_be_exchanged_is_told_by_what_is_wrong(
    settings: Settings, picture_server: PictureServer, status: int, told: str
) -> None:
    picture_server.statuses["/api/token/refresh"] = status
    with pytest.raises(MediaUnavailable, match=told):
        fetch(settings, "/data/upload/a.jpg", label_studio_api_key=SecretStr(PERSONAL_TOKEN))


def test_a_personal_token_is_exchanged_once(settings: Settings, picture_server: PictureServer) -> None:
    picture_server.contents["/api/token/refresh"] = b'{"access": "short-lived"}'
    picture_server.contents["/data/upload/a.jpg"] = b"picture"
    media = Media(settings.model_copy(update={"label_studio_api_key": SecretStr(PERSONAL_TOKEN)}))
    for _ in range(2):
        assert media.fetch("/data/upload/a.jpg", task_id=1) == b"picture"
    asked = ("/data/upload/a.jpg", "Bearer short-lived")
    assert picture_server.asked == [("/api/token/refresh", None), asked, asked]


def test_no_more_of_a_picture_is_read_than_allowed(settings: Settings) -> None:
    """Not even of Label Studio's own, where the answer passes through the exchange of tokens."""
    sent = 0
    with socket.create_server(("127.0.0.1", 0)) as server:

        def pour() -> None:
            nonlocal sent
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
                for _ in range(100):
                    connection.sendall(bytes(1_000_000))
                    sent += 1_000_000

        thread = threading.Thread(target=pour, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(MediaUnavailable, match="larger than 1 MB"):
            fetch(settings, "/data/upload/a.jpg", label_studio_url=address, media_max_mb=1.0)
        thread.join(10)
    assert sent < 50_000_000


def test_inline_pictures(settings: Settings) -> None:
    assert fetch(settings, "data:image/png;base64," + base64.b64encode(b"picture").decode()) == b"picture"
    with pytest.raises(MediaUnavailable):
        fetch(settings, "data:image/png;base64,***")


def test_inline_pictures_may_be_written_in_lines(settings: Settings) -> None:
    content = bytes(range(256))
    assert fetch(settings, "data:image/png;base64," + base64.encodebytes(content).decode()) == content
    assert fetch(settings, "data:image/png;base64,\r\n  " + base64.b64encode(content).decode() + "\t") == content


def test_inline_pictures_may_be_too_large(settings: Settings) -> None:
    def inline(size: int) -> str:
        return "data:image/png;base64," + base64.b64encode(b"x" * size).decode()

    assert len(fetch(settings, inline(1000), media_max_mb=0.001)) == 1000
    with pytest.raises(MediaUnavailable, match=r"larger than 0\.001 MB \(MEDIA_MAX_MB\)"):
        fetch(settings, inline(1001), media_max_mb=0.001)


@pytest.mark.parametrize(
    ("uri", "status", "help_"),
    [
        ("/data/local-files/?d=line/a.jpg", 403, "LOCAL_FILES_SERVING_ENABLED"),
        ("/data/local-files/?d=line/a.jpg", 404, "Cloud Storage"),
        ("/data/local-files/?d=line/a.jpg", 401, "LABEL_STUDIO_API_KEY"),
        ("s3://bucket/a.jpg", 404, "Cloud Storage"),
        ("s3://bucket/a.jpg", 403, "LABEL_STUDIO_API_KEY"),
        ("s3://bucket/a.jpg", 424, "keys under Settings, Cloud Storage"),
        ("/data/upload/a.jpg", 404, "does not exist"),
        ("/studio/data/upload/a.jpg", 404, "/studio.*LABEL_STUDIO_PUBLIC_URL"),
    ],
)
def test_what_keeps_label_studio_from_giving_a_picture_is_told(
    settings: Settings, picture_server: PictureServer, uri: str, status: int, help_: str
) -> None:
    """With these answers of its release 1.23.2 where local files are off, or no storage holds the picture."""
    with pytest.raises(MediaUnavailable):
        fetch(settings, uri)
    [(asked, _)] = picture_server.asked
    picture_server.statuses[asked] = status
    with pytest.raises(MediaUnavailable, match=help_):
        fetch(settings, uri)


def test_a_link_that_label_studio_has_signed_and_the_storage_refuses_is_not_called_expired(
    settings: Settings, picture_server: PictureServer, elsewhere: str
) -> None:
    """As S3 does where the file is gone and the keys may not list the bucket."""
    picture_server.redirects["/tasks/7/resolve/?fileuri=czM6Ly9i"] = f"{elsewhere}/a.jpg?X-Amz-Signature=hidden"
    picture_server.statuses["/a.jpg?X-Amz-Signature=hidden"] = 403
    with pytest.raises(MediaUnavailable, match="see that the file is there"):
        fetch(settings, "/tasks/7/resolve/?fileuri=czM6Ly9i", media_allow_private=True)


@pytest.mark.parametrize("status", [400, 403])
def test_a_link_that_has_expired_is_told_without_its_signature(
    settings: Settings, picture_server: PictureServer, elsewhere: str, status: int
) -> None:
    picture_server.statuses["/a.jpg?X-Amz-Signature=hidden"] = status
    uri = f"{elsewhere}/a.jpg?X-Amz-Signature=hidden"
    with pytest.raises(MediaUnavailable, match="signed link is refused") as found:
        fetch(settings, uri, media_hosts=("localhost",), media_allow_private=True)
    assert "hidden" not in str(found.value)


def test_cloud_addresses_are_resolved_by_label_studio(settings: Settings, picture_server: PictureServer) -> None:
    encoded = base64.urlsafe_b64encode(b"s3://bucket/a.jpg").decode()
    picture_server.contents[f"/tasks/1/presign/?fileuri={encoded.replace('=', '%3D')}"] = b"picture"
    assert fetch(settings, "s3://bucket/a.jpg") == b"picture"
