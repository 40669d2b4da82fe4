"""How accurate and how fast the detector is, on every data set in a folder."""

import backend  # noqa: F401  # as the service runs: threads that wait sleep
