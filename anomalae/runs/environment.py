"""The machine a training ran on: device, threads, versions. Bit-for-bit promises hold where these agree."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from importlib import metadata

import torch

from anomalae.errors import ConfigError
from anomalae.settings import DEVICES
from anomalae.version import __version__

_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pillow", "safetensors")


@dataclass(frozen=True)
class Environment:
    """An environment is what a run records of where it was trained.

    device: as PyTorch names it.
    processor: its architecture, or the accelerator's name.
    threads: CPU threads of PyTorch.
    platform: operating system.
    versions: of Python, anomalae and the packages that compute.
    """

    device: str = "cpu"
    processor: str = ""
    threads: int = 1
    platform: str = ""
    versions: dict[str, str] = field(default_factory=dict)


def choose_device(name: str) -> torch.device:
    """Return the device of this name; `auto` is CUDA, then MPS, then the CPU. ConfigError where it is not there."""
    if name not in DEVICES:
        raise ConfigError(f"device {name!r}: must be one of {', '.join(DEVICES)}")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    if not there[name]:
        raise ConfigError(f"device {name!r}: not available on this machine")
    return torch.device(name)


def use_threads(threads: int | None) -> None:
    """Set the number of CPU threads of PyTorch; None leaves it as it is. ConfigError below 1."""
    if threads is None:
        return
    if threads < 1:
        raise ConfigError(f"threads {threads}: must be at least 1")
    torch.set_num_threads(threads)


def record_environment(device: torch.device) -> Environment:
    """Describe this machine as it is now."""
    versions = {"python": platform.python_version(), "anomalae": __version__}
    versions |= {package: metadata.version(package) for package in _PACKAGES}
    processor = torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()
    return Environment(device.type, processor, torch.get_num_threads(), platform.system(), versions)
