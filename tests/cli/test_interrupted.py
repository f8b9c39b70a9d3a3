"""Ctrl-C, and a request to end: real signals to real processes, which say one line and end with 130."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from anomalae import cli
from tests.cli import QUICK, ok

QUICKLY = ["--threads", "1"]


def interrupted(*words: str, at: str | float, by: signal.Signals = signal.SIGINT) -> tuple[int, str]:
    """Run a command, send the signal, and return its status and what it says then.

    at: the beginning of the first line at which it is sent, or seconds after a hidden file was opened.
    """
    # Where the tests run in the background SIGINT is ignored, and ignored it stays in what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-u", "-m", "anomalae", *words]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stdout is not None
        if isinstance(at, str):
            assert any(line.startswith(at) for line in process.stdout)
        else:
            while not list(Path().rglob("*.part")):
                assert process.poll() is None
                time.sleep(0.01)
            time.sleep(at)
        process.send_signal(by)
        rest = process.stdout.read()
    return process.returncode, rest


def test_a_command_that_has_nothing_to_go_on_with():
    status, rest = interrupted("check", "vae", at="ok: ")
    assert status == 130
    said = [line for line in rest.splitlines() if not line.startswith("ok: ")]
    assert said == ["Interrupted."]


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_compare_ends_its_child_and_can_go_on(by: signal.Signals):
    ok("train", "--normal", "0", *QUICK, *QUICKLY, "--quiet")
    status, rest = interrupted("compare", "--baseline", "knn", *QUICKLY, at="[1/1] knn", by=by)
    assert status == 130
    assert rest == "Interrupted with 0 of 1 baselines done; the same command goes on.\n"
    assert not Path("runs/digits-0-ae/comparison.json").exists()


def test_benchmark_keeps_the_cells_it_has():
    words = ["--dataset", "digits", "--hidden", "32", "--epochs", "100", *QUICKLY, "--normal", "0,1,2"]
    status, rest = interrupted("benchmark", *words, at="[1/3] normal-0_seed-0: ROC-AUC")
    assert status == 130
    assert rest.splitlines()[-1] == "Interrupted with 1 of 3 cells done; the same command goes on."
    assert len([*Path("reports/benchmark-digits-ae/cells").glob("normal-0_seed-0_*.json")]) == 1


class Lost:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def kept(work: Callable[[], object]) -> None:
    """Do work as the command line does it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with cli._interrupts_kept():
            work()
        # Nor is one kept until later, when all is done.
        time.sleep(2 * cli.AGAIN)
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_is_not_lost_where_nothing_can_be_raised():
    def work() -> None:
        Lost()
        time.sleep(5)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        kept(work)
    assert time.monotonic() - began < 4, "it slept on"
    kept(Lost)


def test_a_stop_is_not_lost_where_ctrl_c_is_ignored():
    class Stopped:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def work() -> None:
        Stopped()
        time.sleep(5)

    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, signal.default_int_handler),
    }
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt), cli._interrupts_kept():
            work()
    finally:
        for what, handler in before.items():
            signal.signal(what, handler)
    assert time.monotonic() - began < 4, "it slept on"


def test_ctrl_c_within_an_import_is_no_fault_of_what_is_imported():
    def imported() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            # As a module whose import broke off lacks what came after.
            lacking()

    def lacking() -> None:
        raise AttributeError

    with pytest.raises(KeyboardInterrupt):
        kept(imported)
    with pytest.raises(AttributeError):
        kept(lacking)


@pytest.mark.parametrize(
    ("target", "by", "after"),
    [
        ("model.onnx", signal.SIGINT, 1.0),
        ("new/site", signal.SIGTERM, 1.0),
        *(
            pytest.param(target, signal.SIGINT, after, marks=pytest.mark.slow)
            for target in ("model.onnx", "demo.html", "new/site", "old")
            for after in (0.0, 0.5, 1.5, 2.5, 3.5)
        ),
    ],
)
def test_export_and_demo_leave_what_was_there(target: str, by: signal.Signals, after: float, small, images):
    """However long after the files were opened, for so many images are compared for long."""
    small.save("run")
    np.save("images.npy", np.concatenate([images] * 200))
    Path("old").mkdir()
    for name in ("model.onnx", "decoder.onnx", "demo.html", "old/index.html", "old/model.onnx"):
        Path(name).write_text("by anomalae demo")
    before = there()
    words = ["demo", target]
    if target.endswith(".onnx"):
        words = ["export", target, "--decoder", "decoder.onnx"]
    status, said = interrupted(*words, "--run", "run", "--images", "images.npy", at=after, by=by)
    # Python ends by the signal, which is 130 for a shell, where it broke off code that was made at run time.
    assert (status, said.splitlines()[-1]) in ((130, "Interrupted."), (-signal.SIGINT, "Interrupted.")), said
    assert "Traceback" not in said
    assert there() == before


def there() -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in Path().rglob("*")}
