"""benchmarks/serve.py in short, against the server as it is started; and the description against what is answered."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from anomalae import Detector
from anomalae.server.limits import Limits
from tests.server.test_server import listening
from tests.test_scripts import ROOT, imported

SCRIPT = ROOT / "benchmarks" / "serve.py"


@pytest.mark.slow
def test_under_load_no_answer_is_wrong_and_after_a_kill_it_starts_again():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--clients", "8", "--seconds", "3", "--rounds", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert (told["wrong"], told["lost"], told["left_behind"]) == ([], [], [])
    assert set(told["answers"]) == {
        "judged as it must be: 200", "refused as it must be: 413", "refused as it must be: 422",
    }  # fmt: skip
    assert told["after_kill"] == {"judged as it must be: 200": 1}
    assert told["peak_mb_after"] < told["peak_mb_before"] + 200
    assert told["rate"]["of_score"] > 0


def test_it_tells_a_wrong_answer_from_a_right_one(monkeypatch):
    script = imported(SCRIPT, monkeypatch)
    good, bad = script.Upload("good", "", b"", [(1.5, 0.25)]), script.Upload("bad", "", b"")
    row = {"score": 1.5, "p_value": 0.25}
    assert script.is_right(good, 200, json.dumps({"rows": [row]}).encode())
    for rows in ([{**row, "score": 1.5000000000000002}], [{**row, "p_value": 0.5}], [], [row, row]):
        assert not script.is_right(good, 200, json.dumps({"rows": rows}).encode())
    assert not script.is_right(good, 422, b'{"error": "no"}')
    assert script.is_right(bad, 422, b'{"error": "no"}')
    for status, body in (
        (500, {"error": "no"}),
        (200, {"rows": []}),
        (422, {"error": ""}),
        (422, {"error": "a\nb"}),
    ):
        assert not script.is_right(bad, status, json.dumps(body).encode())


@pytest.mark.slow
def test_what_is_described_is_what_is_answered(digits):
    """Skipped where schemathesis is not installed: pip install schemathesis."""
    pytest.importorskip("schemathesis")
    split = digits.one_class(normal=[0], seed=0)
    small = {"hidden": (16,), "latent_dim": 2, "epochs": 1}
    runs = {model: Detector(model=model, **small).fit(split.train.images) for model in ("vae", "ae")}
    with listening(runs, Limits()) as port:
        done = subprocess.run(
            [
                sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{port}/openapi.json",
                "--seed", "1", "--max-examples", "30", "--continue-on-failure",
                # Which scores a run has, and that lists are all of one length, the description cannot say.
                "--exclude-checks", "positive_data_acceptance",
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "6 selected / 6 total" in done.stdout
