"""The service: Label Studio's ML backend protocol around the model package."""
