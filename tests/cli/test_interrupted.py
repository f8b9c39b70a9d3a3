"""Ctrl-C, and a request to end: real signals to real processes, which say one line and end with 130."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import QUICK, ok

QUICKLY = ["--threads", "1"]


def interrupted(*words: str, at: str, by: signal.Signals = signal.SIGINT) -> tuple[int, str]:
    """Run a command, send the signal at its first line that begins so, and return its status and what it says then."""
    # Where the tests run in the background SIGINT is ignored, and ignored it stays in what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-u", "-m", "anomalae", *words]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stdout is not None
        assert any(line.startswith(at) for line in process.stdout)
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
