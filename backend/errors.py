"""Errors of the service. The message says what happened, to which project or task, and what to do."""

from model.errors import AnomalyError


class BackendError(AnomalyError):
    """Base of all errors of the service."""


class LabelConfigUnusable(BackendError):
    """The project's labelling config has no place for a verdict on an image."""


class AreaUnusable(BackendError):
    """The area that people drew in a project leaves nothing to look at."""


class StudioUnreachable(BackendError):
    """Label Studio does not answer."""


class StudioRefused(BackendError):
    """Label Studio answered with an error, or not as Label Studio does.

    status: the answer's own, but 502 where a stranger's page says 404.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class MediaUnavailable(BackendError):
    """A task's picture could not be fetched."""


class OutOfTime(MediaUnavailable):
    """The time for all pictures was over before this one came."""


class PicturesUnreadable(BackendError):
    """Most of a project's normal pictures cannot be read, which may pass: what keeps them may be restarting."""


class QueueUnreachable(BackendError):
    """The job queue cannot be reached."""


class SecondWorker(BackendError):
    """Another worker process serves the same file queue."""


class LeaseLost(BackendError):
    """Another worker may have taken over what this one was doing."""


class Overloaded(BackendError):
    """More is asked for at once than can be answered in time."""


class StoreUnreachable(BackendError):
    """The folder or bucket of the models cannot be read, which may pass."""


class StoreUnwritable(BackendError):
    """The folder or bucket of the models cannot be written."""


class UnknownVersion(BackendError):
    """A project has no model version of that name."""


class UnknownProject(BackendError):
    """No project of that id has connected."""


class NotPossible(BackendError):
    """What was asked for makes no sense."""


class NotAllowed(BackendError):
    """The caller did not prove who they are."""


class Forbidden(BackendError):
    """The caller may not do this, and a password would not help."""
