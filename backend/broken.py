"""Which pictures a process has said are broken: one that stays so is told of once, not at every look."""

from __future__ import annotations

from collections.abc import Container, Iterable


class Broken:
    """What was told of each picture that is broken now."""

    def __init__(self) -> None:
        self._told: dict[int, dict[int, str]] = {}

    def is_news(self, project_id: int, task_id: int, text: str) -> bool:
        """Whether the log does not hold this text of the task's picture yet; from now on it does."""
        told = self._told.setdefault(project_id, {})
        known, told[task_id] = told.get(task_id), text
        return known != text

    def works(self, project_id: int, task_ids: Iterable[int]) -> None:
        """Should one of these break again, it is news."""
        told = self._told.get(project_id, {})
        for task_id in task_ids:
            told.pop(task_id, None)

    def keep(self, project_id: int, task_ids: Container[int]) -> None:
        """Forgets all but these."""
        told = self._told.get(project_id, {})
        self.works(project_id, [task_id for task_id in list(told) if task_id not in task_ids])
