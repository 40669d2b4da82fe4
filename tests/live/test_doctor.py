"""`label-studio-anomaly doctor` against a real Label Studio, well and with each thing that people get wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from backend.labels import EXAMPLE_CONFIG
from tests.live.conftest import TOKEN, LiveBackend, LiveStudio

OTHER_CONFIG = '<View><Text name="t" value="$text"/><Choices name="c" toName="t"><Choice value="a"/></Choices></View>'


@dataclass
class Patient:
    """A Label Studio with one connected project, and how to ask the doctor about it."""

    studio: LiveStudio
    project: int
    folder: Path

    def examine(self, *, project: int | None = 0, **settings: str) -> tuple[int, str]:
        """Exit code and output. project: 0 for the patient's own, None for all that are connected."""
        environment = {
            **os.environ,
            "LABEL_STUDIO_URL": self.studio.url,
            "LABEL_STUDIO_API_KEY": TOKEN,
            "MODEL_DIR": str(self.folder / "models"),
            "DATA_DIR": str(self.folder / "state"),
            "CACHE_DIR": str(self.folder / "cache"),
            **settings,
        }
        only = [] if project is None else ["--project", str(project or self.project)]
        command = [sys.executable, "-m", "backend", "doctor", *only]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def patient(
    studio: LiveStudio,
    start_backend: Callable[..., LiveBackend],
    tmp_path_factory: pytest.TempPathFactory,
    normal_pictures: list[Path],
) -> Patient:
    backend = start_backend()
    project = studio.create_project("The patient", EXAMPLE_CONFIG)
    studio.upload(project, [("whole.jpg", normal_pictures[0].read_bytes())])
    studio.call("POST", "/api/ml", json={"project": project, "url": backend.url, "title": "anomalies"})
    return Patient(studio, project, tmp_path_factory.mktemp("doctor"))


def test_all_is_well(patient: Patient) -> None:
    code, said = patient.examine()
    assert code == 0, said
    assert "change" not in said
    assert said.count("fine") == 11
    assert "verdict is normal or abnormal" in said
    assert "384 x 512 pixels" in said


def test_all_connected_projects_are_found(patient: Patient) -> None:
    assert f"project {patient.project}: the labelling config fits" in patient.examine(project=None)[1]


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"LABEL_STUDIO_URL": "http://127.0.0.1:1"}, "is it running"),
        ({"LABEL_STUDIO_API_KEY": ""}, "create one under Account & Settings"),
        ({"LABEL_STUDIO_API_KEY": "0" * 40}, "refuses this legacy token"),
        ({"QUEUE_URL": "redis://127.0.0.1:1/0"}, "start Redis or change QUEUE_URL"),
        ({"MODEL_DIR": "/proc/models"}, "change MODEL_DIR"),
        ({"BACKBONE": "resnet18", "BACKBONE_WEIGHTS": "/nowhere.pth"}, "there is no such file"),
        ({"WEBHOOK_SECRET": "unheard-of"}, "lacks the secret"),
        ({"MEDIA_MAX_PIXELS": "1000"}, "more than the 1,000 pixels allowed"),
        ({"ALARM_RATE": "5"}, "ALARM_RATE"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_mistake_in_the_settings_is_named(patient: Patient, settings: dict[str, str], advice: str) -> None:
    code, said = patient.examine(**settings)
    assert code != 0
    assert advice in said


def test_legacy_tokens_that_the_organisation_does_not_allow(patient: Patient) -> None:
    studio = patient.studio
    access = studio.call("POST", "/api/token/refresh", json={"refresh": studio.personal_token()})["access"]
    with httpx.Client(base_url=studio.url, headers={"Authorization": f"Bearer {access}"}, timeout=30) as owner:
        allowed = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": False}
        assert owner.post("/api/jwt/settings", json=allowed).is_success
        try:
            code, said = patient.examine()
        finally:
            assert owner.post("/api/jwt/settings", json=allowed | {"legacy_api_tokens_enabled": True}).is_success
    assert code == 1
    assert "switch Legacy Tokens on under Organization, API Tokens Settings" in said
    assert "set LABEL_STUDIO_API_KEY" in said


def test_each_mistake_in_label_studio_is_named(patient: Patient) -> None:
    studio = patient.studio
    unfit = studio.create_project("Text", OTHER_CONFIG)
    assert "start from this config" in patient.examine(project=unfit)[1]
    lonely = studio.create_project("Lonely", EXAMPLE_CONFIG)
    said = patient.examine(project=lonely)[1]
    assert "the project does not have this backend" in said
    assert "the project has no tasks" in said
    assert "project 99999: the token's user sees no such project" in patient.examine(project=99999)[1]


def test_a_webhook_that_was_removed_and_a_picture_that_is_not_there(patient: Patient) -> None:
    studio = patient.studio
    project = studio.create_project("Moved", EXAMPLE_CONFIG)
    studio.call("POST", f"/api/projects/{project}/import", json=[{"data": {"image": "/data/upload/none.jpg"}}])
    backend = studio.call("GET", "/api/ml", params={"project": patient.project})[0]
    studio.call("POST", "/api/ml", json={"project": project, "url": backend["url"], "title": "moved"})
    for hook in studio.call("GET", "/api/webhooks/", params={"project": project}):
        studio.call("DELETE", f"/api/webhooks/{hook['id']}/")
    said = patient.examine(project=project)[1]
    assert "remove the backend under Settings, Model, and add it again" in said
    assert f"change  project {project}: a picture" in said
