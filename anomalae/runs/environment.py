"""The machine a training ran on: device, threads, versions. Bit-for-bit promises hold where these agree."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING

from anomalae.arithmetic import PLAIN, check_arithmetic, chosen
from anomalae.errors import ConfigError
from anomalae.lazy import Deferred
from anomalae.settings import DEVICES
from anomalae.version import __version__

if TYPE_CHECKING:
    import torch
else:
    torch = Deferred("torch")

_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pillow", "safetensors")


@dataclass(frozen=True)
class Environment:
    """An environment is what a run records of where it was trained.

    device: as PyTorch names it.
    processor: its architecture, or the accelerator's name.
    threads: CPU threads of its training.
    arithmetic: of float32 products on the CPU, by which a run is scored too; see `anomalae.arithmetic`. What does not
        say has the plain one, which was the only one once.
    platform: operating system.
    versions: of Python, anomalae and the packages that compute.
    """

    device: str = "cpu"
    processor: str = ""
    threads: int = 1
    arithmetic: str = PLAIN
    platform: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_arithmetic(self.arithmetic)


def choose_device(name: str | torch.device) -> torch.device:
    """Return the device of this name: auto, cpu, cuda or mps, with a number as in `cuda:1`, or a `torch.device`.

    `auto` is CUDA, then MPS, then the CPU. Raises ConfigError for an unknown name, and for a device that is not there.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    counts = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if name == "auto":
        name = next(kind for kind, count in counts.items() if count)
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in counts:
        known = f"{', '.join(DEVICES)}, or with a number as in cuda:0"
        raise ConfigError(f"device {str(name)!r}: must be one of {known}")
    count = counts[device.type]
    if not count:
        raise ConfigError(f"device {str(name)!r}: not available on this machine")
    if device.index is not None and device.index >= count:
        numbers = "0" if count == 1 else f"0 to {count - 1}"
        raise ConfigError(
            f"device {str(name)!r}: not available on this machine, which has {device.type}:{numbers}"
        )
    return device


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of installed packages by their names, as pip has these."""
    return {package: metadata.version(package) for package in packages}


def record_environment(device: torch.device, arithmetic: str | None = None) -> Environment:
    """Describe this machine as it is now.

    device: on which is computed.
    arithmetic: by which; None is that of a new training on this device.
    """
    versions = {"python": platform.python_version(), "anomalae": __version__}
    versions |= versions_of(_PACKAGES)
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return Environment(
        device.type,
        processor,
        torch.get_num_threads(),
        chosen(device) if arithmetic is None else arithmetic,
        platform.system(),
        versions,
    )
