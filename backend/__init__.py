"""The service: Label Studio's ML backend protocol around the model package."""

__version__ = "0.1.0"
