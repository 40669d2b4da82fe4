"""Every option of the service, read once from the environment.

An option is named in the environment as here, in capitals: `model_dir` is MODEL_DIR. All faults are reported
together, each with what to change.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from backend.labels import LabelConfig, parse_config
from backend.wording import in_words
from model.area import Area, parse_rectangles
from model.backbone import BACKBONES
from model.config import DetectorConfig
from model.devices import find_device
from model.errors import AnomalyError, DeviceUnavailable

Names = Annotated[tuple[str, ...], NoDecode]
Share = Annotated[float, Field(gt=0, lt=1)]


NO_HOST = re.compile(r"/|^[^:]*:\d*$|\*.|.\*")
WEBHOOK_HEADER = "X-Anomaly-Secret"


class SettingsInvalid(AnomalyError):
    """One or more options cannot be used; the message names all of them."""


class Settings(BaseSettings):
    """Options of server and worker. Empty values count as not set."""

    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True, extra="ignore")

    # Label Studio
    label_studio_url: str = "http://localhost:8080"
    label_studio_public_url: str = ""
    label_studio_api_key: SecretStr = SecretStr("")

    # Where things are kept
    model_dir: str = "data/models"
    data_dir: Path = Path("data/state")
    cache_dir: Path = Path("data/cache")
    cache_max_gb: float = Field(2.0, gt=0)
    keep_versions: int = Field(30, ge=0)
    forget_days: float = Field(30.0, ge=0)
    queue_url: str = ""

    # Server
    host: str = "0.0.0.0"  # noqa: S104 - a container's server must be reachable from outside
    port: int = Field(9090, ge=1, le=65535)
    basic_auth_user: str = ""
    basic_auth_pass: SecretStr = Field(SecretStr(""), validate_default=True)
    viewer_user: str = ""
    viewer_pass: SecretStr = Field(SecretStr(""), validate_default=True)
    webhook_secret: SecretStr = SecretStr("")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    predict_seconds: float = Field(80.0, gt=0)
    body_max_mb: float = Field(100.0, gt=0)

    # Labels
    normal_labels: Names = ()
    abnormal_labels: Names = ()
    group_key: str = ""

    # Model
    backbone: str = "efficientnet_lite2"
    backbone_weights: Path | None = None
    image_size: int = Field(320, ge=64, le=1024)
    tiles: str = "1x1"
    device: str = "auto"
    alarm_rate: Share = 0.05
    tolerance: Literal["strict", "usual", "tolerant"] = "usual"
    orientation: Literal["auto", "free", "fixed"] = "auto"
    roi: str = ""
    ignore: str = ""
    min_normals: int = Field(5, ge=2)
    cost_miss: float | None = Field(None, ge=0)
    cost_false_alarm: float | None = Field(None, ge=0, validate_default=True)

    # When to train
    debounce_seconds: float = Field(3.0, ge=0)
    debounce_max_seconds: float = Field(60.0, ge=0)
    retrain_growth: float = Field(0.2, ge=0)
    reconcile_minutes: int = Field(10, ge=1, le=59)
    backfill_chunk: int = Field(200, ge=1, le=500)  # their ids travel in an address

    # Fetching pictures
    media_hosts: Names = ()
    media_allow_private: bool = False
    media_max_mb: float = Field(100.0, gt=0)
    media_max_pixels: int = Field(100_000_000, gt=0)
    media_timeout: float = Field(20.0, gt=0)

    @field_validator("normal_labels", "abnormal_labels", "media_hosts", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("media_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if NO_HOST.search(host):
                raise ValueError(f"{host!r} is no host: name it alone, as in images.example, for all ports and schemes")
        return tuple(host.lower() for host in value)

    @field_validator("label_studio_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an address such as http://localhost:8080")
        return value.rstrip("/")

    @field_validator("label_studio_public_url")
    @classmethod
    def _check_public_url(cls, value: str) -> str:
        return cls._check_url(value) if value else ""

    @field_validator("label_studio_api_key", "webhook_secret")
    @classmethod
    def _check_secret(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value().strip()
        if not (text.isascii() and text.isprintable()) or " " in text:
            raise ValueError("holds blanks or letters that cannot be sent; copy it once more")
        return SecretStr(text)

    @field_validator("basic_auth_pass", "viewer_pass")
    @classmethod
    def _check_pair(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        user = str(info.field_name).replace("_pass", "_user")
        if bool(info.data.get(user)) != bool(value.get_secret_value()):
            raise ValueError(f"{user.upper()} and {str(info.field_name).upper()} go together: set both or neither")
        if info.field_name == "viewer_pass" and info.data.get("viewer_user") and not info.data.get("basic_auth_user"):
            raise ValueError("viewers make sense only where others need a password: set BASIC_AUTH_USER too")
        return value

    @field_validator("cost_false_alarm")
    @classmethod
    def _check_costs(cls, value: float | None, info: ValidationInfo) -> float | None:
        if "cost_miss" in info.data and (info.data["cost_miss"] is None) != (value is None):
            raise ValueError("COST_MISS and COST_FALSE_ALARM are weighed against each other: set both or neither")
        return value

    @field_validator("debounce_max_seconds")
    @classmethod
    def _check_patience(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("debounce_seconds", 0):
            raise ValueError("must not be less than DEBOUNCE_SECONDS")
        return value

    @field_validator("backbone_weights")
    @classmethod
    def _check_weights(cls, value: Path | None) -> Path | None:
        if value and not value.is_file():
            raise ValueError("there is no such file")
        return value

    @field_validator("queue_url")
    @classmethod
    def _check_queue(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in ("redis", "rediss", "unix"):
            raise ValueError("must be empty (a file in DATA_DIR) or redis://host:6379/0")
        return value

    @field_validator("backbone")
    @classmethod
    def _check_backbone(cls, value: str) -> str:
        if value not in BACKBONES:
            raise ValueError(f"must be one of {', '.join(BACKBONES)}")
        return value

    @field_validator("device")
    @classmethod
    def _check_device(cls, value: str) -> str:
        try:
            find_device(value)
        except DeviceUnavailable as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("tiles")
    @classmethod
    def _check_tiles(cls, value: str, info: ValidationInfo) -> str:
        known = {name: info.data[name] for name in ("backbone", "image_size") if info.data.get(name)}
        DetectorConfig(tiles=value, **known)
        return value

    @field_validator("roi")
    @classmethod
    def _check_roi(cls, value: str) -> str:
        parse_rectangles(value)
        return value

    @field_validator("ignore")
    @classmethod
    def _check_ignore(cls, value: str, info: ValidationInfo) -> str:
        Area(info.data.get("roi", ""), value)
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    def label_config(self, xml: str) -> LabelConfig:
        """A labelling config read with the names that these settings give. Raises LabelConfigUnusable."""
        return parse_config(xml, normal_labels=self.normal_labels, abnormal_labels=self.abnormal_labels)

    @property
    def public_studio_url(self) -> str:
        """Label Studio's address in people's browsers."""
        return self.label_studio_public_url.rstrip("/") or self.label_studio_url

    @cached_property
    def embedded(self) -> bool:
        """Whether the queue is a file beside the server, which then runs its own worker."""
        return not self.queue_url


def load_settings(**overrides: object) -> Settings:
    """Reads the environment; `overrides` win. Raises SettingsInvalid naming every fault at once."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        faults = [f"  {_told(fault)}: {in_words(fault)}" for fault in error.errors()]
        raise SettingsInvalid("These settings cannot be used:\n" + "\n".join(faults)) from None


def _told(fault: ErrorDetails) -> str:
    """The setting and what it was set to, unless that is or may hold a password."""
    name = str(fault["loc"][0]).upper()
    secret = name.endswith(("_KEY", "_PASS", "_SECRET")) or "@" in str(fault["input"])
    return name if secret else f"{name}={fault['input']!r}"
