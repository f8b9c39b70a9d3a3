"""What the cells of most studies measure."""

from __future__ import annotations

import hashlib
import threading
import time

import pytest

from anomalae.experiments.studies import ablation, zero_loss
from anomalae.experiments.studies.trained import Problem
from anomalae.threads import limited

RULES = ["mse", "smooth", "bent", "worst-place"]
TINY = {"hidden": (8,), "epochs": 2, "views": ("pixels",), "score": "mse"}


def fit_timed(digits):
    return Problem(digits, (8,), 0).fit_timed(TINY)[1]


def zero(digits):
    asked = {"model": zero_loss.LINEAR, "width": 4, "few": True, "precision": "single", "side": 14}
    return zero_loss.measure(digits, {**asked, "normal": [8], "seed": 0, "steps": 200, "rate": 1e-3}).numbers[
        "cpu_seconds"
    ]


def scoring(digits):
    asked = {
        "settings": {**TINY, "epochs": None},
        "times_epochs": 0.01,
        "rules": RULES,
        "normal": [8],
        "seed": 0,
    }
    numbers = ablation.measure(digits, asked).numbers
    timed = len(Problem(digits, (8,), 0).judged.images[: ablation.TIMED])
    return sum(numbers["scoring_seconds"].values()) * timed / ablation.SCORED


@pytest.mark.parametrize("timed", [fit_timed, zero, scoring])
def test_cpu_seconds_are_not_those_of_other_cells(digits, timed):
    """Threads beside it compute all the while, as other cells in a worker of several threads do."""
    over = threading.Event()

    def compute():
        while not over.is_set():
            hashlib.sha256(bytes(1_000_000))

    others = [threading.Thread(target=compute) for _ in range(3)]
    with limited(1):
        timed(digits)
        own, whole = time.thread_time(), time.process_time()
        for other in others:
            other.start()
        try:
            seconds = timed(digits)
        finally:
            own, whole = time.thread_time() - own, time.process_time() - whole
            over.set()
            for other in others:
                other.join()
    assert 0 < seconds <= own + 0.001
    assert whole > 1.2 * own
