"""`verify` and `train --start`, as one types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from anomalae import Detector, runs
from tests.cli import QUICK, fails, ok, parsed, run


@pytest.fixture(autouse=True)
def two(small: Detector) -> None:
    small.save("runs/a")
    small.save("runs/b")


def test_sound_runs_are_told_in_words_and_as_json():
    said = ok("verify", "a").stdout
    assert "the same bits as when it was trained" in said
    assert said.splitlines()[-1].split() == ["verdict", "sound"]
    found = parsed("verify", "a", "--run", "b", "--json")
    assert [(one["run"], one["sound"], one["faults"]) for one in found] == [("a", True, []), ("b", True, [])]
    assert ok("verify", "--quiet").stdout == ""


def test_one_that_is_not_sound_ends_with_1_and_the_others_are_checked():
    Path("runs/a", runs.HISTORY).write_text("")
    done = run("verify", "a", "b", "--json")
    assert done.exit_code == 1
    assert [one["sound"] for one in json.loads(done.stdout)] == [False, True]
    assert "runs/a/history.jsonl: changed" in run("verify", "a").stdout


def test_an_evaluation_kept_later_is_no_fault_and_a_run_can_be_deleted():
    ok("train", "--dataset", "digits", "--normal", "0", "--name", "c", *QUICK)
    ok("evaluate", "--run", "c", "--alpha", "0.2")
    assert ok("verify", "c").stdout.splitlines()[-1].split() == ["verdict", "sound"]
    ok("runs", "--delete", "--yes", "c")


def test_a_training_starts_from_a_run_and_says_so():
    words = ("train", "--dataset", "digits", "--normal", "0", *QUICK)
    ok(*words, "--name", "first")
    said = ok(*words, "--name", "second", "--start", "first", "--seed", "1").stdout
    assert "started from" in said
    shutil.rmtree("runs/first")
    assert "first, whose weights have" in ok("runs", "second").stdout
    assert parsed("runs", "second", "--json")["start"]["run"] == "first"
    assert ok("verify", "second")
    error = fails(1, *words, "--name", "third", "--start", "second", "--latent-dim", "5")
    assert "--start: the networks of run second have another shape: latent_dim" in error
    assert not Path("runs/third").exists()
    assert "no such run" in fails(2, *words, "--start", "nothing")
    assert "--start cannot be given with --resume" in fails(2, "train", "--resume", "x", "--start", "second")
