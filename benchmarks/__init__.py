"""How accurate and how fast the detector is, on every data set in a folder."""
