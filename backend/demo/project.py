"""The demo's project: pictures in, a dozen of them tagged normal, the backend connected."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

from backend import configs
from backend.demo.processes import DemoFailed
from backend.labels import verdict_by_folder
from backend.studio import Studio
from backend.tabs import add_tabs
from model.images import find_images
from model.prediction import Verdict

Json = dict[str, Any]

PICTURES = Path(__file__).parent / "pictures"
CONFIG = configs.FOLDER / "verdict_regions_score_reason.xml"
TAGGED = 12
UPLOAD_AT_ONCE = 10


class DemoProject:
    """One project for one folder of pictures. What is done already is not done again."""

    def __init__(self, studio_url: str, token: str, state_file: Path, images: Path) -> None:
        self._url, self._token = studio_url, token
        self._studio = httpx.Client(base_url=studio_url, headers={"Authorization": f"Token {token}"}, timeout=120)
        self._state_file = state_file
        self._images = images
        states: Json = json.loads(state_file.read_text()) if state_file.exists() else {}
        self._state: Json = states.get(str(images), {})

    @property
    def id(self) -> int:
        return int(self._state["id"])

    def create(self) -> None:
        if "id" in self._state and self._studio.get(f"/api/projects/{self.id}").is_success:
            return
        name = "cookies" if self._images == PICTURES else self._images.name
        body = {"title": f"Anomalies: {name}"[:50], "label_config": CONFIG.read_text()}
        self._remember(id=self._call("POST", "/api/projects", json=body)["id"], uploaded=[], tagged=[])
        add_tabs(Studio(self._url, self._token), self.id)

    def upload(self) -> None:
        """Sends the pictures that Label Studio does not have yet."""
        done = set(self._state["uploaded"])
        paths = [path for path in find_images(self._images) if str(path) not in done]
        with tqdm(total=len(paths), desc="Sending pictures", unit="picture", disable=None) as bar:
            remaining = iter(paths)
            while batch := list(islice(remaining, UPLOAD_AT_ONCE)):
                self._call("POST", f"/api/projects/{self.id}/import", files=list(_files(batch)))
                self._remember(uploaded=self._state["uploaded"] + [str(path) for path in batch])
                bar.update(len(batch))

    def connect(self, backend_url: str) -> None:
        """Adds the backend to the project, as people do under Settings, Model."""
        connected = self._call("GET", "/api/ml", params={"project": self.id})
        if not any(backend["url"] == backend_url for backend in connected):
            body = {"project": self.id, "url": backend_url, "title": "label-studio-anomaly"}
            self._call("POST", "/api/ml", json=body)

    def tag_normal(self) -> int:
        """Submits a normal verdict for a dozen pictures of a folder whose name means normal; returns how many."""
        if self._state["tagged"]:
            return len(self._state["tagged"])
        known = [path for path in find_images(self._images) if verdict_by_folder(path, self._images) is Verdict.NORMAL]
        names = {_upload_name(path) for path in known[:TAGGED]}
        tasks = self._call("GET", "/api/tasks", params={"project": self.id, "page_size": 1000})["tasks"]
        chosen = [task for task in tasks if task["data"]["image"].rpartition("/")[2].partition("-")[2] in names]
        verdict = {"from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": ["normal"]}}
        for task in tqdm(chosen, desc="Tagging normal", unit="picture", disable=None):
            if not task["is_labeled"]:
                self._call("POST", f"/api/tasks/{task['id']}/annotations/", json={"result": [verdict]})
        self._remember(tagged=[task["id"] for task in chosen])
        return len(chosen)

    def predictions(self) -> list[Json]:
        """The newest prediction of each task that has one."""
        params = {"project": self.id, "page_size": 1000, "fields": "all"}
        tasks = self._call("GET", "/api/tasks", params=params)["tasks"]
        return [task["predictions"][-1] for task in tasks if task["predictions"]]

    def _remember(self, **news: Any) -> None:
        self._state |= news
        states = json.loads(self._state_file.read_text()) if self._state_file.exists() else {}
        self._state_file.write_text(json.dumps(states | {str(self._images): self._state}, indent=1))

    def _call(self, method: str, path: str, **content: Any) -> Any:
        answer = self._studio.request(method, path, **content)
        if answer.is_error:
            raise DemoFailed(f"Label Studio answered {answer.status_code} to {method} {path}: {answer.text[:300]}")
        return answer.json()


def _files(paths: Sequence[Path]) -> Iterator[tuple[str, tuple[str, bytes, str]]]:
    for number, path in enumerate(paths):
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        yield f"file{number}", (_upload_name(path), path.read_bytes(), kind)


def _upload_name(path: Path) -> str:
    """The name that the picture gets in Label Studio, which drops all but plain characters."""
    stem = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in path.stem)
    return f"{path.parent.name[:1]}{stem}{path.suffix.lower()}"
