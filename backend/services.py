"""Puts the parts together: the one place that knows which part needs which."""

from __future__ import annotations

from dataclasses import dataclass

from backend.board import Board
from backend.jobs import Jobs
from backend.measures import Measures
from backend.pictures import Pictures
from backend.predicting import Predictor
from backend.registry import Registry
from backend.report.originals import Originals
from backend.report.thumbnails import Thumbnails
from backend.settings import Settings
from backend.studio import open_studio
from backend.training import Trainer


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that servers and workers share."""

    settings: Settings
    registry: Registry
    pictures: Pictures
    jobs: Jobs
    predictor: Predictor
    thumbnails: Thumbnails
    measures: Measures


def build_services(settings: Settings) -> Services:
    """Builds all parts. Contacts neither Label Studio nor Redis, and loads no network."""
    registry = Registry(settings.model_dir)
    pictures = Pictures(settings)

    def make_trainer(board: Board) -> Trainer:
        return Trainer(settings, open_studio(settings), registry, pictures, board)

    jobs = Jobs(settings, registry, make_trainer)
    predictor = Predictor(settings, registry, pictures, jobs)
    thumbnails = Thumbnails(pictures, Originals(settings, open_studio(settings)))
    return Services(settings, registry, pictures, jobs, predictor, thumbnails, Measures())
