"""The service: Label Studio's ML backend protocol around the model package."""

import os

__version__ = "0.1.0"

# Server and workers share the processor: threads that wait for others must not keep it busy. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
