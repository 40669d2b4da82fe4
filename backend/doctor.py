"""`label-studio-anomaly doctor`: checks every step between Label Studio and a prediction, and says what to change."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import httpx
from fsspec.implementations.local import LocalFileSystem

from backend.connection import our_backends, webhook_url
from backend.dataset import image_uri
from backend.errors import BackendError, LabelConfigUnusable, StudioRefused
from backend.labels import LabelConfig
from backend.media import Media
from backend.queue import open_queue, remedy
from backend.settings import WEBHOOK_HEADER, Settings, load_settings
from backend.studio import Studio, open_studio
from backend.studio_answers import NO_ACCESS, NO_LEGACY_TOKENS
from backend.studio_auth import is_personal_token
from model.backbone import load_backbone
from model.devices import name_of
from model.errors import AnomalyError, ImageUnreadable
from model.images import read_image

Json = dict[str, Any]

LEAST_FREE_GB = 1.0
CONNECTED = "CO"
LOCAL_HELP = (
    "Label Studio refuses private addresses unless it is started with ML_BLOCK_LOCAL_IP=false and"
    " SSRF_PROTECTION_ENABLED=false; and it must reach this backend at the address that it was given"
)

BUCKET_HELP = (
    "the bucket must exist, and AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION and, for a store of your"
    " own, AWS_ENDPOINT_URL must be those of a user who may write there; or change MODEL_DIR"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. advice: what to change, empty when all is well."""

    what: str
    advice: str = ""


class Ill(BackendError):
    """A check found something to change."""


def examine(project_id: int | None = None) -> int:
    """Prints every finding as it comes; returns 0 when there is nothing to change."""
    settings = load_settings()
    ill = 0
    for finding in _findings(settings, project_id):
        mark = "change" if finding.advice else "fine  "
        print(f"{mark}  {finding.what}", flush=True)
        if finding.advice:
            ill += 1
            print(f"        {finding.advice}", flush=True)
    return 1 if ill else 0


def _findings(settings: Settings, project_id: int | None) -> Iterator[Finding]:
    yield Finding("the settings can be used")
    yield _check("the network", lambda: _network(settings))
    yield _check("the folder or bucket of the models (MODEL_DIR)", lambda: _store(settings))
    yield _check("room on the disk (MODEL_DIR, DATA_DIR, CACHE_DIR)", lambda: _disk(settings))
    yield _check("the job queue", lambda: _queue(settings))
    studio = open_studio(settings, timeout=10)
    reachable = _check("Label Studio", lambda: _studio(Studio(studio.url, "", timeout=10)))
    yield reachable
    if reachable.advice:
        return
    access = _check("the access token (LABEL_STUDIO_API_KEY)", lambda: _token(settings, studio))
    yield access
    if access.advice:
        return
    projects = [project_id] if project_id is not None else _connected(studio)
    if not projects:
        yield Finding("connected projects: none", f"add this backend under Settings, Model, of a project. {LOCAL_HELP}")
    for found in projects:
        yield from _project_findings(settings, studio, found)


def _check(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(f"{what}: {look()}")
    except AnomalyError as error:
        return Finding(what, str(error))


# This side


def _network(settings: Settings) -> str:
    backbone = load_backbone(settings.backbone, weights=settings.backbone_weights, device=settings.device)
    return f"{settings.backbone} on {name_of(backbone.device)}"


def _store(settings: Settings) -> str:
    try:
        files, root = fsspec.core.url_to_fs(settings.model_dir)
        if isinstance(files, LocalFileSystem):  # of a bucket this would make one
            files.makedirs(root, exist_ok=True)
        probe = f"{root.rstrip('/')}/probe-{uuid4().hex}"
        files.pipe_file(probe, b"probe")
        files.rm_file(probe)
    except ImportError as error:
        raise Ill(f"{error}: pip install 'label-studio-anomaly[s3]', or change MODEL_DIR") from error
    except Exception as error:  # each store fails in its own way
        help_ = BUCKET_HELP if "://" in settings.model_dir else "change MODEL_DIR or its permissions"
        raise Ill(f"{settings.model_dir} cannot be written ({error}): {help_}") from error
    return settings.model_dir


def _disk(settings: Settings) -> str:
    folders = {"DATA_DIR": settings.data_dir, "CACHE_DIR": settings.cache_dir}
    if "://" not in settings.model_dir:
        folders["MODEL_DIR"] = Path(settings.model_dir)
    free = {name: _free_gb(folder) for name, folder in folders.items()}
    fullest = min(free, key=lambda name: free[name])
    if free[fullest] < LEAST_FREE_GB:
        raise Ill(
            f"only {free[fullest]:.1f} GB are free at {folders[fullest]}: make room there, or set {fullest} to a folder"
            " on a larger disk"
        )
    return f"{free[fullest]:.0f} GB free"


def _free_gb(folder: Path) -> float:
    existing = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    return shutil.disk_usage(existing).free / 1e9


def _queue(settings: Settings) -> str:
    try:
        open_queue(settings).get("ping", peek=True)
    except Exception as error:  # each queue fails in its own way
        raise Ill(f"it cannot be reached ({error}): {remedy(settings)}") from error
    return "Redis" if settings.queue_url else "a file in DATA_DIR; the server keeps a worker of its own"


# Label Studio


def _studio(studio: Studio) -> str:
    try:
        release = studio.version()
    except StudioRefused as error:
        if not 400 <= error.status < 500:
            raise
        raise Ill(f"{studio.url} answers, but not as Label Studio does: change LABEL_STUDIO_URL") from error
    # Label Studio answers below its pages too, such as /projects/1/data, but only where it asks for no token.
    origin = str(httpx.URL(studio.url).copy_with(raw_path=b"/")).rstrip("/")
    if origin != studio.url and _is_label_studio(origin):
        raise Ill(f"{studio.url} is one of its pages: set LABEL_STUDIO_URL to {origin}, without what follows")
    return f"release {release} at {studio.url}"


def _is_label_studio(url: str) -> bool:
    try:
        return bool(Studio(url, "", timeout=10).version())
    except StudioRefused:
        return False


def _token(settings: Settings, studio: Studio) -> str:
    token = settings.label_studio_api_key.get_secret_value()
    if not token:
        raise Ill(NO_ACCESS)
    kind = "personal access token" if is_personal_token(token) else "legacy token"
    try:
        return f"{kind} of {studio.user()}"
    except StudioRefused as error:
        if error.status not in (401, 403):
            raise
        if NO_LEGACY_TOKENS in str(error):
            raise Ill(NO_LEGACY_TOKENS) from error
        raise Ill(
            f"Label Studio refuses this {kind}: create a new one under Account & Settings and set LABEL_STUDIO_API_KEY"
        ) from error


def _connected(studio: Studio) -> list[int]:
    return [project_id for project_id in sorted(studio.projects()) if our_backends(studio.backends(project_id))]


def _project_findings(settings: Settings, studio: Studio, project_id: int) -> Iterator[Finding]:
    name = f"project {project_id}"
    try:
        project = studio.project(project_id)
    except AnomalyError as error:
        yield Finding(name, str(error))
        return
    try:
        config = settings.label_config(project["label_config"])
        yield Finding(f"{name}: the labelling config fits: {_predicted(config)}")
    except LabelConfigUnusable as error:
        yield Finding(f"{name}: the labelling config", str(error))
        return
    backends = our_backends(studio.backends(project_id))
    yield _check(f"{name}: Label Studio reaches the backend", lambda: _reached(backends))
    if backends:
        yield _check(f"{name}: the webhook", lambda: _webhook(settings, studio, project_id, backends))
    yield _check(f"{name}: a picture", lambda: _picture(settings, studio, project_id, config))


def _predicted(config: LabelConfig) -> str:
    """What predictions will fill."""
    extras = ", ".join(control.name for control in config.extras)
    verdict = f"{config.choices} is {config.normal[0]} or {config.abnormal[0]}"
    return f"{verdict}; predictions fill {extras} too" if extras else verdict


def _reached(backends: list[Json]) -> str:
    if not backends:
        raise Ill(f"the project does not have this backend: add it under Settings, Model. {LOCAL_HELP}")
    backend = backends[0]
    if backend.get("state") != CONNECTED:
        reason = backend.get("error_message") or "no reason given"
        if _answers(backend["url"]):
            raise Ill(f"it does not reach {backend['url']} ({reason}), where the server answers. {LOCAL_HELP}")
        raise Ill(
            f"it does not reach {backend['url']} ({reason}), and from here nothing answers there either: start the"
            " server, or correct its address under Settings, Model"
        )
    return str(backend["url"])


def _answers(url: str) -> bool:
    """Whether a server of ours is at the address, as seen from here."""
    try:
        return "AnomalyDetector" in httpx.get(f"{url.rstrip('/')}/health", timeout=5).text
    except httpx.HTTPError:
        return False


def _webhook(settings: Settings, studio: Studio, project_id: int, backends: list[Json]) -> str:
    urls = {webhook_url(backend["url"]) for backend in backends}
    hooks = [hook for hook in studio.webhooks(project_id) if hook["url"] in urls]
    if not hooks:
        raise Ill(
            "there is none, so new labels are seen late: remove the backend under Settings, Model, and add it again"
        )
    if not any(hook.get("is_active", True) for hook in hooks):
        raise Ill("it is switched off: switch it on under Settings, Webhooks")
    secret = settings.webhook_secret.get_secret_value()
    if secret and not any((hook.get("headers") or {}).get(WEBHOOK_HEADER) == secret for hook in hooks):
        raise Ill(
            "it lacks the secret of WEBHOOK_SECRET: the backend sets it at the next training; press Start Training"
        )
    return "there, and authentic" if secret else "there"


def _picture(settings: Settings, studio: Studio, project_id: int, config: LabelConfig) -> str:
    task = next(iter(studio.tasks(project_id)), None)
    if task is None:
        raise Ill("the project has no tasks yet: import some")
    uri = image_uri(task, config)
    if uri is None:
        raise Ill(f"the data of task {task['id']} has no picture under {config.image_value!r}, where the config looks")
    try:
        picture = read_image(Media(settings).fetch(uri, task["id"]), max_pixels=settings.media_max_pixels)
    except ImageUnreadable as error:
        raise Ill(f"the picture of task {task['id']} cannot be used: {error}") from error
    return f"task {task['id']}, {picture.width} x {picture.height} pixels"
