"""Labelling configs to start from, ready to be pasted into Label Studio."""

from pathlib import Path

FOLDER = Path(__file__).parent
