"""Errors of the model package: each says what happened and what to do next."""


class AnomalyError(Exception):
    """Base of every error that the project raises on purpose."""


class ImageUnreadable(AnomalyError):
    """One picture could not be used; the others go on without it."""


class NotEnoughNormals(AnomalyError):
    """There are too few normal pictures to learn from."""

    def __init__(self, found: int, needed: int) -> None:
        super().__init__(
            f"{found} usable normal pictures, copies counted once, {needed} needed: tag or add {needed - found} more as"
            " normal"
        )
        self.found = found
        self.needed = needed


class ArtifactInvalid(AnomalyError):
    """A saved model is incomplete, damaged or from another release."""


class BackboneUnavailable(AnomalyError):
    """A backbone's name is unknown or its weights cannot be had on this machine."""


class DeviceUnavailable(AnomalyError):
    """A device's name is unknown, or this machine has none such."""


class ExportFailed(AnomalyError):
    """A detector cannot be exported here, or the exported one would judge otherwise."""
