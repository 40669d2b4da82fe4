"""The addresses of pictures that are part of their tasks, of which evaluations save only a stand-in."""

from __future__ import annotations

from backend.addresses import is_stand_in, saved
from backend.dataset import image_uri
from backend.errors import MediaUnavailable
from backend.settings import Settings
from backend.studio import Studio


class Originals:
    """Asks Label Studio for the task where it must."""

    def __init__(self, settings: Settings, studio: Studio) -> None:
        self._settings = settings
        self._studio = studio

    def address(self, uri: str, project_id: int, task_id: int) -> str:
        """Where the picture of a task is. uri: as it is saved.

        Raises MediaUnavailable where the task has another picture now, and what Studio and the labelling config raise.
        """
        if not is_stand_in(uri):
            return uri
        config = self._settings.label_config(self._studio.project(project_id)["label_config"])
        task = next(iter(self._studio.tasks(project_id, [task_id])), None)
        found = image_uri(task, config) if task else None
        if found is None or saved(found) != uri:
            raise MediaUnavailable(f"the picture of task {task_id} was changed: the next look at the project shows it")
        return found
