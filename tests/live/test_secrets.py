"""With either kind of token the whole way works, and nothing that is kept or told holds a secret."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from backend.labels import EXAMPLE_CONFIG
from backend.settings import WEBHOOK_HEADER
from tests.live.conftest import TOKEN, LiveBackend, LiveStudio

PASSWORD = "the-hidden-password"
EVENT_SECRET = "the-hidden-event-secret"
PAGES = ["/", "/projects/{}", "/projects/{}/cases.csv", "/projects/{}/model", "/metrics", "/openapi.json"]
ANSWERS = ["/api/projects", "/api/projects/{}", "/api/projects/{}/evaluation", "/api/projects/{}/versions"]


@pytest.mark.parametrize("kind", ["personal access token", "legacy token"])
def test_no_secret_is_kept_or_told(
    kind: str,
    studio: LiveStudio,
    start_backend: Callable[..., LiveBackend],
    tmp_path: Path,
    normal_pictures: list[Path],
) -> None:
    token = TOKEN if kind == "legacy token" else studio.personal_token()
    backend = start_backend(
        LABEL_STUDIO_API_KEY=token,
        BASIC_AUTH_USER="studio",
        BASIC_AUTH_PASS=PASSWORD,
        WEBHOOK_SECRET=EVENT_SECRET,
        LOG_LEVEL="DEBUG",
        MODEL_DIR=str(tmp_path / "models"),
        DATA_DIR=str(tmp_path / "state"),
        CACHE_DIR=str(tmp_path / "cache"),
    )
    project = studio.create_project(f"With a {kind}", EXAMPLE_CONFIG)
    studio.upload(project, [(f"{path.stem}.jpg", path.read_bytes()) for path in normal_pictures[:7]])
    known = {"auth_method": "BASIC_AUTH", "basic_auth_user": "studio", "basic_auth_pass": PASSWORD}
    studio.call("POST", "/api/ml", json={"project": project, "url": backend.url, "title": "anomalies"} | known)
    for task in studio.tasks(project)[:5]:
        studio.annotate(task, "normal")
    studio.call("POST", f"/api/projects/{project}/import", json=[{"data": {"image": "http://me:word@nowhere/a.jpg"}}])
    backend.wait(project, lambda status: status["model_version"] and status["problems"], "a model and a bad picture")
    hook = next(hook for hook in studio.call("GET", "/api/webhooks/", params={"project": project}))
    assert hook["headers"] == {WEBHOOK_HEADER: EVENT_SECRET}
    event = {"action": "x", "project": {"id": project}}
    for given, status in ((EVENT_SECRET, 200), ("guessed", 401), ("", 401)):
        answer = httpx.post(f"{backend.url}/webhook", json=event, headers={WEBHOOK_HEADER: given})
        assert answer.status_code == status

    secrets = [secret.encode() for secret in (token, PASSWORD, EVENT_SECRET)]
    told = {path: backend.api.get(path.format(project)) for path in PAGES + ANSWERS}
    assert {path: answer.status_code for path, answer in told.items()} == dict.fromkeys(told, 200)
    texts = {path: answer.content + str(answer.headers).encode() for path, answer in told.items()}
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    texts |= {str(path): path.read_bytes() for path in [*kept, backend.program.log]}
    assert any(name.endswith("model.safetensors") for name in texts)
    assert any(name.endswith("queue.db") for name in texts)
    assert f"project {project}".encode() in texts[str(backend.program.log)]
    assert {name for name, text in texts.items() if any(secret in text for secret in secrets)} == set()
    shown = [answer.content for answer in told.values()] + [texts[str(backend.program.log)]]
    assert not any(b"me:word" in text for text in shown)
