"""What the doctor says of things that a real Label Studio cannot be brought to, or not soon."""

from __future__ import annotations

import time
from pathlib import Path

import fsspec
import pytest
from pydantic import SecretStr

from backend import configs, doctor, server
from backend.doctor import (
    Ill,
    _disk,
    _network,
    _predicted,
    _project_findings,
    _queue,
    _reached,
    _store,
    _studio,
    _token,
)
from backend.errors import StudioRefused
from backend.labels import parse_config
from backend.settings import Settings
from backend.studio import Studio
from tests.conftest import PERSONAL_TOKEN, PictureServer
from tests.faults.label_studio import FakeLabelStudio


def test_a_server_that_is_down_is_told_from_one_that_label_studio_refuses(picture_server: PictureServer) -> None:
    backend = {"url": f"{picture_server.url}/", "state": "DI", "error_message": None}  # so 1.23.2 refuses
    with pytest.raises(Ill, match="nothing answers there either: start the server"):
        _reached([backend])
    picture_server.contents["/health"] = b'{"status": "UP", "model_class": "AnomalyDetector"}'
    with pytest.raises(Ill, match=r"where the server answers.*ML_BLOCK_LOCAL_IP"):
        _reached([backend])


def test_another_models_backend_is_not_taken_for_this_one(settings: Settings) -> None:
    studio = FakeLabelStudio()
    studio.start()
    client = Studio(studio.url, "f" * 40)
    other = studio.backends[0] | {"url": "http://sam:9091", "model_version": "sam-1", "state": "CO"}
    ours = studio.backends[0] | {"url": "http://127.0.0.1:1", "model_version": "untrained", "state": "DI"}
    for backends, told in (([other, ours], "does not reach http://127.0.0.1:1"), ([other], "not have this backend")):
        studio.backends = backends
        found = list(_project_findings(settings, client, studio.project["id"]))
        assert told in found[1].advice
    studio.stop()


def test_a_host_that_is_not_label_studio(picture_server: PictureServer) -> None:
    with pytest.raises(Ill, match=r"not as Label Studio does: change LABEL_STUDIO_URL"):
        _studio(Studio(picture_server.url, ""))


def test_a_proxy_that_sends_us_elsewhere_is_told_with_the_address_to_set(picture_server: PictureServer) -> None:
    picture_server.redirects["/api/version"] = "https://ls.factory.example/api/version"
    with pytest.raises(StudioRefused, match=r"redirects to https://ls\.factory\.example: set LABEL_STUDIO_URL to that"):
        _studio(Studio(picture_server.url, ""))
    picture_server.redirects["/api/version"] = "https://login.factory.example/?next=/api/version"
    with pytest.raises(StudioRefused, match=r"redirects to https://login\.factory\.example/, and not as Label Studio"):
        _studio(Studio(picture_server.url, ""))


def test_a_page_for_people_instead_of_an_answer(picture_server: PictureServer) -> None:
    picture_server.contents["/api/version"] = b"<html>Welcome</html>"
    with pytest.raises(StudioRefused, match=r"/api/version answers, but not as Label Studio does: check LABEL_STUDIO"):
        _studio(Studio(picture_server.url, ""))
    for content in (b"<html>Welcome</html>", b"", b"{}", b"[]"):
        picture_server.contents["/api/token/refresh"] = content
        with pytest.raises(StudioRefused, match=r"/refresh answers, but not as Label Studio does: check LABEL_STUDIO"):
            Studio(picture_server.url, PERSONAL_TOKEN).user()


def test_an_outage_of_label_studio_is_not_the_address_nor_the_token(
    settings: Settings, picture_server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    for path in ("/api/version", "/api/token/refresh"):
        picture_server.statuses[path] = 503
    with pytest.raises(StudioRefused, match="answered 503 to GET /api/version"):
        _studio(Studio(picture_server.url, ""))
    personal = settings.model_copy(update={"label_studio_api_key": SecretStr(PERSONAL_TOKEN)})
    with pytest.raises(StudioRefused, match="answered 503 to POST /api/token/refresh"):
        _token(personal, Studio(picture_server.url, PERSONAL_TOKEN))
    assert len(picture_server.asked) == 6  # each is tried three times


def test_a_personal_token_that_was_revoked(settings: Settings, picture_server: PictureServer) -> None:
    picture_server.statuses["/api/token/refresh"] = 401
    personal = settings.model_copy(update={"label_studio_api_key": SecretStr(PERSONAL_TOKEN)})
    with pytest.raises(Ill, match="refuses this personal access token: create a new one"):
        _token(personal, Studio(picture_server.url, PERSONAL_TOKEN))


def test_the_address_of_one_of_its_pages(picture_server: PictureServer) -> None:
    """Label Studio tells its release below these too."""
    told = b'{"release": "1.23.2"}'
    page = Studio(f"{picture_server.url}/projects/1/data", "")
    picture_server.contents["/projects/1/data/api/version"] = told
    assert _studio(page).startswith("release 1.23.2"), "behind a proxy it may well be there alone"
    picture_server.contents["/api/version"] = told
    with pytest.raises(Ill, match=rf"set LABEL_STUDIO_URL to {picture_server.url}, without"):
        _studio(page)


def test_a_refusal_for_want_of_a_token_says_so(picture_server: PictureServer) -> None:
    picture_server.statuses["/api/projects/1"] = 401
    with pytest.raises(StudioRefused, match=r"there is no token \(LABEL_STUDIO_API_KEY\): create one"):
        Studio(picture_server.url, "").project(1)
    with pytest.raises(StudioRefused, match="LABEL_STUDIO_API_KEY must be a token of a user"):
        Studio(picture_server.url, "f" * 40).project(1)


def test_a_project_that_the_user_does_not_see(picture_server: PictureServer) -> None:
    with pytest.raises(StudioRefused, match=r"^project 55: the token's user sees no such project$"):
        Studio(picture_server.url, "").project(55)


def test_a_server_without_a_token_says_so_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bare = settings.model_copy(update={"label_studio_api_key": SecretStr("")})
    monkeypatch.setattr(server, "load_settings", lambda **given: bare)
    monkeypatch.setattr(server, "set_up_logging", lambda settings: None)
    monkeypatch.setattr(server.uvicorn, "run", lambda *arguments, **options: None)
    server.serve(None, None, own_worker=False)
    assert "there is no token (LABEL_STUDIO_API_KEY)" in caplog.text


def test_a_bucket_that_is_not_there_is_told_and_not_made(settings: Settings, bucket: str) -> None:
    assert _store(settings.model_copy(update={"model_dir": f"{bucket}/here"})) == f"{bucket}/here"
    with pytest.raises(Ill, match=r"s3://nowhere/models cannot be written .*the bucket must exist.*AWS_ENDPOINT_URL"):
        _store(settings.model_copy(update={"model_dir": "s3://nowhere/models"}))
    assert [Path(name).name for name in fsspec.filesystem("s3", use_listings_cache=False).ls("")] == ["models"]


def test_keys_that_may_only_read_a_bucket(settings: Settings, read_only_bucket: str) -> None:
    with pytest.raises(Ill, match=r"s3://models cannot be written \(Access Denied\).*may write"):
        _store(settings.model_copy(update={"model_dir": read_only_bucket}))


def test_a_store_that_does_not_answer(settings: Settings, unreachable_bucket: str) -> None:
    with pytest.raises(Ill, match=r"s3://models cannot be written .*AWS_ENDPOINT_URL"):
        _store(settings.model_copy(update={"model_dir": unreachable_bucket}))


def test_a_disk_that_is_nearly_full(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "GB free" in _disk(settings)
    monkeypatch.setattr(doctor, "LEAST_FREE_GB", 1e9)
    with pytest.raises(Ill, match=r"GB are free at /.*: make room there, or set DATA_DIR to a folder on a larger disk"):
        _disk(settings)


def test_a_folder_of_the_queue_that_cannot_be_written(settings: Settings) -> None:
    with pytest.raises(Ill, match="change DATA_DIR or its permissions"):
        _queue(settings.model_copy(update={"data_dir": Path("/proc/state")}))


def test_the_network_is_told_with_where_it_runs(settings: Settings) -> None:
    assert _network(settings.model_copy(update={"device": "cpu"})) == f"{settings.backbone} on the CPU"


def test_what_predictions_will_fill_is_told() -> None:
    config = (configs.FOLDER / "verdict_regions_score_reason.xml").read_text()
    told = "verdict is normal or abnormal; predictions fill score, reason, place, mask too"
    assert _predicted(parse_config(config)) == told
