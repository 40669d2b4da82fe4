"""The container files agree with the Compose specification, the settings and the command line."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import SecretStr

from backend.cli import build_parser
from backend.settings import Settings

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
ON_GPU: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())

# What the containers need otherwise than a plain start from a shell.
DIFFERENT = {"label_studio_url", "label_studio_public_url", "model_dir", "data_dir", "cache_dir", "queue_url"}


def without_env_file(value: object) -> str:
    """What Compose hands over when nobody set anything: ${NAME:-default} is the default."""
    text = json.dumps(value) if isinstance(value, bool) else str(value)
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any setting."""
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize("content", [COMPOSE, ON_GPU], ids=["alone", "with a GPU"])
def test_compose_file_fits_the_specification(content: dict[str, Any]) -> None:
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.Draft7Validator(json.loads(schema.read_text())).validate(content)


def test_the_backend_and_its_workers_get_the_gpus_and_nothing_else_changes() -> None:
    assert set(ON_GPU["services"]) == {"backend", "worker"}
    for service in ON_GPU["services"].values():
        devices = [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
        assert service == {"deploy": {"resources": {"reservations": {"devices": devices}}}}


def test_services_refer_to_what_there_is() -> None:
    assert set(SERVICES) == {"label-studio", "redis", "backend", "worker"}
    for service in SERVICES.values():
        mounts = [mount.partition(":")[0] for mount in service.get("volumes", [])]
        assert set(mounts) <= set(COMPOSE["volumes"])
        for other, wish in service.get("depends_on", {}).items():
            assert wish["condition"] == "service_healthy"
            assert "test" in SERVICES[other]["healthcheck"]


def test_worker_is_the_backend_without_a_port_so_that_it_scales() -> None:
    backend, worker = SERVICES["backend"], SERVICES["worker"]
    own = {"command", "ports", "healthcheck"}
    assert {key: worker[key] for key in worker if key not in own} == {
        key: backend[key] for key in backend if key not in own
    }
    assert not worker.keys() & {"ports", "container_name"}


@pytest.mark.parametrize("service", ["backend", "worker"])
def test_every_setting_is_offered_and_no_other(service: str) -> None:
    assert set(SERVICES[service]["environment"]) == {field.upper() for field in Settings.model_fields}


def test_defaults_are_those_of_the_settings(bare: pytest.MonkeyPatch) -> None:
    plain = Settings()
    for name, value in SERVICES["backend"]["environment"].items():
        bare.setenv(name, without_env_file(value))
    composed = Settings()
    differing = {field for field in Settings.model_fields if getattr(plain, field) != getattr(composed, field)}
    assert differing == DIFFERENT
    assert composed.label_studio_api_key == SecretStr("")


def test_settings_agree_with_the_other_services() -> None:
    settings = SERVICES["backend"]["environment"]
    assert without_env_file(settings["LABEL_STUDIO_URL"]) == "http://label-studio:8080"
    assert settings["QUEUE_URL"].startswith("redis://redis:")
    assert SERVICES["backend"]["ports"][0].endswith(f":{settings['PORT']}")
    [mount] = SERVICES["backend"]["volumes"]
    assert all(
        without_env_file(settings[name]).startswith(mount.partition(":")[2] + "/")
        for name in ("MODEL_DIR", "DATA_DIR", "CACHE_DIR")
    )


@pytest.mark.parametrize("service", ["backend", "worker"])
def test_commands_are_commands_of_ours(service: str) -> None:
    check_command(SERVICES[service]["command"])


def test_image_serves_on_its_port_with_known_settings() -> None:
    check_command(json.loads(re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.M)[-1]))
    assert re.search(rf"^EXPOSE {Settings.model_fields['port'].default}$", DOCKERFILE, re.M)
    folders = set(re.findall(r"\b([A-Z]+_DIR)=/data/", DOCKERFILE))
    assert folders == {"MODEL_DIR", "DATA_DIR", "CACHE_DIR"}


def test_image_leaves_out_the_old_packages_that_the_plugin_needs() -> None:
    assert "plugin" not in DOCKERFILE


def test_image_is_built_from_files_that_reach_the_builder() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.M) for source in line.split()}
    assert copied == kept
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.parametrize(
    "healthcheck",
    [SERVICES[name]["healthcheck"]["test"][-1] for name in ("backend", "label-studio")]
    + re.findall(r'"-c", "(.*)"\]$', DOCKERFILE, re.M),
)
def test_healthchecks_are_python(healthcheck: str) -> None:
    compile(healthcheck, "healthcheck", "exec")
    assert "/health" in healthcheck


def check_command(command: list[str]) -> None:
    program, *arguments = command
    assert program in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    build_parser().parse_args(arguments)
