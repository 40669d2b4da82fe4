"""Visual anomaly detection from normal pictures alone: images in, verdicts out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.config import DetectorConfig
    from model.detector import AnomalyDetector
    from model.prediction import Prediction, Verdict

__all__ = ["AnomalyDetector", "DetectorConfig", "Prediction", "Verdict"]


def __getattr__(name: str) -> Any:
    """Loads torch only for those who use the detector: the command line answers at once without it."""
    if name in ("AnomalyDetector", "DetectorConfig"):
        from model import detector

        return getattr(detector, name)
    if name in ("Prediction", "Verdict"):
        from model import prediction

        return getattr(prediction, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
