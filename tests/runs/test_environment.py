"""Devices are found by name, number or torch.device; one that is unknown or not there is said to be so, in a line."""

from __future__ import annotations

import pytest
import torch

from anomalae import Detector
from anomalae.errors import ConfigError
from anomalae.runs.environment import choose_device


@pytest.mark.parametrize("name", ["cpu", "cpu:0", torch.device("cpu"), torch.device("cpu", 0)])
def test_the_processor_by_any_name(name: str | torch.device) -> None:
    assert choose_device(name).type == "cpu"


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "cuda:-1", "", "meta", torch.device("meta"), None, 1.5])
def test_unknown_devices(name: object) -> None:
    with pytest.raises(ConfigError, match=r"must be one of auto, cpu, cuda, mps, or .* cuda:0") as caught:
        choose_device(name)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert repr(str(name)) in str(caught.value)


def test_devices_that_are_not_there() -> None:
    with pytest.raises(
        ConfigError, match=r"^device 'cpu:1': not available on this machine, which has cpu:0$"
    ):
        choose_device("cpu:1")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for name in (f"cuda:{count}", torch.device("cuda", count)):
        with pytest.raises(ConfigError, match=rf"^device 'cuda:{count}': not available on this machine"):
            choose_device(name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA here")
def test_a_numbered_accelerator() -> None:
    assert choose_device("cuda:0") == choose_device(torch.device("cuda", 0)) == torch.device("cuda:0")


def test_a_detector_takes_all_of_them(small: Detector, images, tmp_path) -> None:
    small.save(tmp_path / "run")
    loaded = Detector.load(tmp_path / "run", device=torch.device("cpu"))
    assert (loaded.score(images) == loaded.to("cpu:0").score(images)).all()
    assert Detector(device="cpu:0").device == torch.device("cpu:0")
    for call in (Detector, loaded.to, lambda device: Detector.load(tmp_path / "run", device=device)):
        with pytest.raises(ConfigError, match="device 'tpu'"):
            call(device="tpu")


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "1"])
def test_threads_are_checked_at_once(threads):
    with pytest.raises(ConfigError, match=r"threads .*: must be a whole number, at least 1"):
        Detector(threads=threads)
