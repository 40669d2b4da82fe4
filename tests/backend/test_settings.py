from __future__ import annotations

import re
from pathlib import Path

import pytest

from backend.settings import Settings, SettingsInvalid, load_settings


def test_the_defaults_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "")
    assert load_settings().label_studio_url == "http://localhost:8080"


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "https://studio.example/sub/")
    monkeypatch.setenv("NORMAL_LABELS", "gut, in Ordnung ,")
    monkeypatch.setenv("LOG_LEVEL", "debug")
    settings = load_settings()
    assert settings.label_studio_url == "https://studio.example/sub"
    assert settings.normal_labels == ("gut", "in Ordnung")
    assert settings.log_level == "DEBUG"


def test_all_faults_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = {
        "LABEL_STUDIO_URL": "localhost",
        "ALARM_RATE": "5",
        "BACKBONE": "resnet1000",
        "QUEUE_URL": "amqp://x",
        "PORT": "ninety",
        "IMAGE_SIZE": "10",
        "DEVICE": "gpu",
    }
    for name, value in faults.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid) as refusal:
        load_settings()
    for name, value in faults.items():
        assert f"{name}='{value}'" in str(refusal.value) or f"{name}={value}" in str(refusal.value)


def test_tiles_want_pictures_that_can_be_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_SIZE", "64")
    assert load_settings().image_size == 64
    monkeypatch.setenv("TILES", "auto")
    with pytest.raises(SettingsInvalid, match="TILES='auto': image_size must be at least 96 with tiles, not 64"):
        load_settings()


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "very-secret")
    assert "very-secret" not in repr(load_settings())


def test_every_setting_is_documented() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "settings.md").read_text()
    named = set(re.findall(r"`([A-Z][A-Z_]+)`", page)) - {"DEBUG", "INFO", "WARNING", "ERROR"}
    assert named - {"LABEL_STUDIO_HOST"} == {name.upper() for name in Settings.model_fields}  # Label Studio's own


def test_settings_that_do_not_go_together_are_named_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = {
        "BASIC_AUTH_USER": "someone",
        "VIEWER_PASS": "very-secret",
        "LABEL_STUDIO_API_KEY": "very secret",
        "QUEUE_URL": "amqp://me:very-secret@x",
        "DEBOUNCE_SECONDS": "90",
        "BACKBONE_WEIGHTS": "/nowhere.pth",
        "LOG_FORMAT": "xml",
        "COST_MISS": "3",
    }
    for name, value in faults.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid) as refusal:
        load_settings()
    told = str(refusal.value)
    for name in ("BASIC_AUTH_PASS", "VIEWER_USER", "LABEL_STUDIO_API_KEY", "QUEUE_URL", "DEBOUNCE_MAX_SECONDS"):
        assert name in told
    assert "BACKBONE_WEIGHTS='/nowhere.pth'" in told
    assert "LOG_FORMAT='xml'" in told
    assert "COST_FALSE_ALARM" in told
    assert "very" not in told


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("PORT", "ninety", "must be a whole number"),
        ("IMAGE_SIZE", "10", "must be at least 64"),
        ("RECONCILE_MINUTES", "99", "must be at most 59"),
        ("BACKFILL_CHUNK", "501", "must be at most 500"),
        ("CACHE_MAX_GB", "0", "must be more than 0"),
        ("ALARM_RATE", "5 %", "must be a number"),
        ("MEDIA_ALLOW_PRIVATE", "perhaps", "must be true or false"),
        ("TOLERANCE", "none", "must be 'strict', 'usual' or 'tolerant'"),
        ("QUEUE_URL", "amqp://x", "must be empty"),
        ("MEDIA_HOSTS", "a.example, minio:9000", "'minio:9000' is no host: name it alone"),
        ("MEDIA_HOSTS", "https://a.example", "'https://a.example' is no host: name it alone"),
        ("MEDIA_HOSTS", "*.a.example", "'*.a.example' is no host: name it alone"),
    ],
)
def test_faults_are_told_in_plain_words(name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid) as refusal:
        load_settings()
    assert f"  {name}={value!r}: {told}" in str(refusal.value)


def test_hosts_are_known_however_their_case_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIA_HOSTS", "Bucket.S3.Example, fd00::1, *")
    assert load_settings().media_hosts == ("bucket.s3.example", "fd00::1", "*")


def test_costs_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COST_FALSE_ALARM", "1")
    with pytest.raises(SettingsInvalid, match="set both or neither"):
        load_settings()
    monkeypatch.setenv("COST_MISS", "0")
    assert load_settings().cost_miss == 0
