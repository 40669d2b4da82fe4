"""Machines of their own: network namespaces on one bridge, each of which can drop off the network and come back."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

BRIDGE = f"lsa{os.getpid()}"
HERE = "10.77.0.1"
"""The address of this process's own network on the bridge."""


@dataclass(frozen=True)
class Host:
    """name: of its network namespace. cable: this end of its connection with the bridge."""

    name: str
    address: str
    cable: str

    @property
    def settings(self) -> dict[str, str]:
        """What a process of the fleet that is to run there is told."""
        return {"HOST": self.address, "NETWORK": f"/var/run/netns/{self.name}"}

    @property
    def prefix(self) -> list[str]:
        """In front of any other command that is to run there."""
        return f"ip netns exec {self.name}".split()

    def unplug(self) -> None:
        """From now on packets from and to it are lost, without a word to either side."""
        _ip(f"link set {self.cable} down")

    def plug(self) -> None:
        _ip(f"link set {self.cable} up")


def lacking() -> str:
    """Why there can be no such hosts; empty where there can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed: apt-get install iproute2"
    if subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], capture_output=True).returncode:
        return "network namespaces need root: run the tests in a container, or with sudo"
    _ip(f"link del {BRIDGE}")
    return ""


@contextmanager
def network(count: int) -> Iterator[list[Host]]:
    """So many hosts that reach each other and this process, at HERE."""
    with ExitStack() as undo:
        _ip(f"link add {BRIDGE} type bridge")
        undo.callback(_ip, f"link del {BRIDGE}")
        _ip(f"addr add {HERE}/24 dev {BRIDGE}")
        _ip(f"link set {BRIDGE} up")
        hosts = [
            Host(f"{BRIDGE}h{number}", f"10.77.0.{number + 1}", f"{BRIDGE}c{number}") for number in range(1, count + 1)
        ]
        for host in hosts:
            _ip(f"netns add {host.name}")
            undo.callback(_ip, f"netns del {host.name}")
            _ip(f"link add {host.cable} type veth peer name eth0 netns {host.name}")
            undo.callback(_ip, f"link del {host.cable}")  # else it goes with the last process on that machine
            _ip(f"link set {host.cable} master {BRIDGE} up")
            _ip(f"-n {host.name} addr add {host.address}/24 dev eth0")
            _ip(f"-n {host.name} link set eth0 up")
            _ip(f"-n {host.name} link set lo up")
        yield hosts


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True, timeout=10)
