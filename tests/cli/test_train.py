"""`train`: a stranger's first command, its options, what it refuses, and that nothing is lost in the middle."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from click.testing import Result

from anomalae import Detector, files, runs
from tests.cli import QUICK, fails, ok, parsed, run


def only_warnings(result: Result) -> bool:
    """Nothing was printed but warnings."""
    return result.stdout == "" and all(x.startswith("Warning: ") for x in result.stderr.splitlines())


def test_train_leaves_a_finished_run_and_says_so():
    result = ok("train", "--normal", "0", *QUICK)
    folder = Path("runs/digits-0-ae")
    assert {p.name for p in folder.iterdir()} >= {
        "config.json", "weights.safetensors", "calibration.safetensors",
        "history.jsonl", "evaluation.json", "scores.csv",
    }  # fmt: skip
    assert not (folder / runs.CHECKPOINT).exists()
    assert "test ROC-AUC" in result.stdout
    assert "anomalae score IMAGES/ --run digits-0-ae" in result.stdout
    assert "epoch 2/2" in result.stderr
    assert "images/s" in result.stderr
    config = json.loads((folder / "config.json").read_text())
    assert config["format_version"] == (4 if "arithmetic" in config["environment"] else 2)
    assert config["data"]["name"] == "digits"
    assert config["data"]["normal"] == [0]
    assert config["settings"]["epochs"] == 2
    assert config["environment"]["versions"]["torch"]
    assert config["environment"]["threads"] >= 1
    assert set(config["data"]["hashes"]) == {"train", "test"}
    assert len((folder / "history.jsonl").read_text().splitlines()) == 2


def test_names_are_automatic_and_given_ones_refused_when_taken():
    ok("train", "--normal", "0", *QUICK, "--quiet")
    ok("train", "--normal", "0", *QUICK, "--quiet")
    ok("train", "--anomalous", "1", *QUICK, "--quiet")
    ok("train", "--normal", "0,2-3", "--normal", "5", *QUICK, "--quiet", "--name", "mine")
    assert {p.name for p in Path("runs").iterdir()} == {
        "digits-0-ae",
        "digits-0-ae-2",
        "digits-not1-ae",
        "mine",
    }
    assert Detector.load("runs/mine").data.normal == (0, 2, 3, 5)
    assert Detector.load("runs/digits-not1-ae").data.anomalous == (1,)
    assert "runs/mine: exists already" in fails(1, "train", "--normal", "0", *QUICK, "--name", "mine")


def test_quiet_says_nothing_and_json_is_json():
    assert only_warnings(ok("train", "--normal", "0", *QUICK, "--quiet"))
    document = parsed("train", "--normal", "0", *QUICK, "--json")
    assert document["run"] == "digits-0-ae-2"
    assert 0 <= document["roc_auc"] <= 1


def test_conv_and_other_settings_reach_the_run():
    ok("train", "--normal", "1", "--dataset", "digits", "--architecture", "conv", "--epochs", "1", "--noise", "0",
       "--score", "mse", "--batch-size", "16", "--learning-rate", "0.01", "--seed", "7", "--threads", "1",
       "--device", "cpu", "--runs-dir", "elsewhere", "--quiet")  # fmt: skip
    detector = Detector.load("elsewhere/digits-1-ae")
    settings = detector.settings
    assert (settings.architecture, settings.noise, settings.score) == ("conv", 0.0, "mse")
    assert (settings.batch_size, settings.learning_rate, settings.seed) == (16, 0.01, 7)
    assert detector.data.seed == 7
    assert detector.environment.threads == 1


def test_an_excluding_flag_wins_over_the_file_too():
    Path("c.toml").write_text("normal = 0\njson = true\n")
    found = json.loads(ok("train", *QUICK, "--config", "c.toml", "--anomalous", "1").stdout)
    assert found["normal"] == [0, 2, 3, 4, 5, 6, 7, 8, 9]


def test_config_file_gives_options_and_a_flag_wins():
    Path("c.toml").write_text(
        'normal = [0, "2-3"]\ndataset = "digits"\nepochs = 1\nhidden = [16]\nlatent-dim = 4\nquiet = true\nname = "c"\n'
    )
    assert only_warnings(ok("train", "--config", "c.toml", "--latent-dim", "5"))
    detector = Detector.load("runs/c")
    assert detector.data.normal == (0, 2, 3)
    assert (detector.settings.latent_dim, detector.settings.hidden, detector.settings.epochs) == (5, (16,), 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("latnet-dim = 3", "c.toml: unknown key 'latnet-dim'; did you mean 'latent-dim'?"),
        ("epochs = 0", "0 is not in the range"),
        ("epochs = [", "c.toml: not readable as TOML"),
        ("quiet = 3", "key 'quiet': expected true or false"),
        ("[epochs]\nx = 1", "key 'epochs': expected a value"),
        ("resume = 'x'", "unknown key 'resume'"),
    ],
)
def test_config_file_with_a_fault(content, message):
    Path("c.toml").write_text(content)
    assert message in fails(2, "train", "--normal", "0", "--config", "c.toml")


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        ([], 2, "say which classes are normal"),
        (["--normal", "0", "--anomalous", "1"], 2, "exclude each other"),
        (["--normal", "12"], 2, "class 12: not in digits"),
        (["--normal", "0-9"], 2, "no class is left to be anomalous"),
        (["--anomalous", "0-9"], 2, "normal"),
        (["--normal", ""], 2, "class"),
        (["--normal", "0", "--latent-dim", "0"], 2, "0 is not in the range 1<=x<=784"),
        (["--normal", "0", "--latent-dim", "785"], 2, "785 is not in the range"),
        (["--normal", "0", "--alpha", "1.5"], 2, "1.5 is not in the range 0<x<1"),
        (["--normal", "0", "--alpha", "0"], 2, "not in the range"),
        (["--normal", "0", "--name", "../x"], 2, "run name '../x'"),
        (["--normal", "0", "--epochs", "0"], 2, "not in the range"),
        (["--normal", "0", "--noise", "nan"], 2, "noise nan"),
        (["--normal", "0", "--hidden", "a"], 2, "'a'"),
        (["--normal", "0", "--device", "tpu"], 2, "tpu"),
        (["--normal", "0", "--dataset", "no/such/folder"], 2, "no/such/folder"),
    ],
)
def test_bad_arguments_are_one_line_and_leave_nothing(args, status, message):
    data = [] if "--dataset" in args else ["--dataset", "digits"]
    assert message in fails(status, "train", *data, *args)
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


def test_an_unwritable_place_is_one_line():
    Path("file").write_text("")
    assert "file" in fails(2, "train", "--normal", "0", *QUICK, "--runs-dir", "file")
    assert "cannot be written" in fails(1, "train", "--normal", "0", *QUICK, "--runs-dir", "file/below")


def test_no_mnist_falls_back_to_digits_with_a_warning_unless_it_was_asked_for(monkeypatch):
    monkeypatch.setattr("urllib.request.OpenerDirector.open", _no_network)
    result = ok("train", "--normal", "0", *QUICK[2:])
    warning = next(line for line in result.stderr.splitlines() if line.startswith("Warning: "))
    assert "mnist" in warning.lower()
    assert "digits" in warning
    assert json.loads(Path("runs/digits-0-ae/evaluation.json").read_text())["dataset"] == "digits"
    complaint = fails(1, "train", "--normal", "0", "--dataset", "mnist")
    assert "train-images-idx3-ubyte" in complaint


def _no_network(*args, **kwargs):
    raise OSError("no network in tests")


def test_a_killed_training_resumes_bit_for_bit():
    args = [
        "train",
        "--normal",
        "0",
        *QUICK[:2],
        "--epochs",
        "6",
        "--hidden",
        "32",
        "--latent-dim",
        "8",
        "--threads",
        "1",
    ]
    ok(*args, "--name", "whole", "--quiet")
    command = [sys.executable, "-m", "anomalae", *args, "--name", "killed"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 2/"):
                process.send_signal(signal.SIGKILL)
                break
    assert "not finished; go on with: anomalae train --resume killed" in fails(
        1, "evaluate", "--run", "killed"
    )
    listed = {one["run"]: one for one in parsed("runs", "--json")}
    assert listed["killed"]["status"] == "interrupted"
    assert listed["killed"]["resume"] == "anomalae train --resume killed"
    assert "--epochs cannot be given with --resume" in fails(
        2, "train", "--resume", "killed", "--epochs", "9"
    )
    ok("train", "--resume", "killed", "--quiet")
    ours, whole = (Path("runs", name, "weights.safetensors").read_bytes() for name in ("killed", "whole"))
    assert ours == whole
    scores = [Path("runs", name, "scores.csv").read_text() for name in ("killed", "whole")]
    assert scores[0] == scores[1]
    assert "finished already" in fails(1, "train", "--resume", "killed")


def test_ctrl_c_says_how_to_go_on():
    command = [
        sys.executable,
        "-m",
        "anomalae",
        "train",
        "--normal",
        "0",
        "--dataset",
        "digits",
        "--epochs",
        "500",
    ]
    # Where the tests run in the background SIGINT is ignored, and ignored it stays in what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 1/"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest.splitlines()[-1] == "Interrupted; go on with: anomalae train --resume digits-0-ae"
    assert "Traceback" not in rest


def test_two_trainings_at_once_under_one_name(monkeypatch):
    monkeypatch.setattr("anomalae.detectors.detector.Detector.write", _killed)
    with pytest.raises(RuntimeError, match="killed"):
        run("train", "--normal", "0", *QUICK, "--name", "taken")
    with runs.lock(Path("runs/taken")):
        assert "another training is at work" in fails(1, "train", "--resume", "taken")
        assert "exists already" in fails(1, "train", "--normal", "0", *QUICK, "--name", "taken")
        assert parsed("runs", "--json")[0]["status"] == "training"


def _killed(self: Detector, folder: Path) -> None:
    raise RuntimeError("killed")


def test_a_full_disk_stops_with_one_line(monkeypatch):
    real = files.part_file
    written = []

    @contextlib.contextmanager
    def full(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
        written.append(path)
        if len(written) > 4:
            raise OSError(28, "No space left on device")
        with real(path, durable=durable) as file:
            yield file

    monkeypatch.setattr(files, "part_file", full)
    assert "No space left on device" in fails(1, "train", "--normal", "0", *QUICK)
    monkeypatch.setattr(files, "part_file", real)
    ok("train", "--resume", "digits-0-ae", "--quiet")  # the epochs done were kept
    assert files.read_json(Path("runs/digits-0-ae/evaluation.json"))["run"] == "digits-0-ae"


def test_no_command_and_a_mistyped_one():
    assert "Did you mean 'train'" in fails(2, "trian")
    assert run("--version").stdout.startswith("anomalae, version ")
