"""Where the network and the search run, and how exactly."""

from __future__ import annotations

import re

import torch

from model.errors import DeviceUnavailable

AUTO = "auto"
CPU = torch.device("cpu")
NAMES = re.compile(r"(cpu|mps|xpu|cuda)(:\d+)?")
WANTED = {"cuda": "NVIDIA GPU", "mps": "Apple GPU", "xpu": "Intel GPU"}


def find_device(name: str) -> torch.device:
    """The device called `name`: auto, cpu, cuda, cuda:1, mps ... Raises DeviceUnavailable where it is not there."""
    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not NAMES.fullmatch(name):
        raise DeviceUnavailable(f"no device is called {name!r}: use auto, cpu, cuda, cuda:1, mps or xpu")
    device = torch.device(name)
    if device.type in WANTED and (device.index or 0) >= _number(device.type):
        raise DeviceUnavailable(f"PyTorch finds no {WANTED[device.type]} here for {name!r}: use auto or cpu")
    return device


def name_of(device: torch.device) -> str:
    """For people: the CPU, or which GPU."""
    if device.type == "cpu":
        return "the CPU"
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def precision_on(device: torch.device) -> torch.dtype:
    """What the network computes in: half precision on a GPU of NVIDIA's, which is much faster at it."""
    return torch.float16 if device.type == "cuda" else torch.float32


def search_device(device: torch.device) -> torch.device:
    """Where patches are searched for: beside the network on a GPU of NVIDIA's, else on the CPU."""
    return device if device.type == "cuda" else CPU


def _number(kind: str) -> int:
    """How many devices of a kind there are."""
    backend = getattr(torch, kind)
    return int(backend.device_count()) if backend.is_available() else 0
