"""`runs`: the list and one run as JSON, and what `--delete` takes away and leaves alone."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anomalae import Detector, runs
from anomalae.errors import BundleError
from tests.cli import QUICK, fails, ok, parsed


@pytest.fixture(autouse=True)
def two(small: Detector) -> None:
    small.save("runs/a")
    small.save("runs/b")


def there() -> list[str]:
    return sorted(path.name for path in Path("runs").iterdir())


def test_the_list_has_no_epochs_and_one_run_has_them():
    listed = {run["run"]: run for run in parsed("runs", "--json")}
    assert set(listed) == {"a", "b"}
    one = parsed("runs", "a", "--json")
    assert parsed("runs", "--run", "a", "--json") == one
    assert [line["epoch"] for line in one.pop("history")] == [1, 2]
    assert listed["a"] == one


def test_the_list_does_not_wait_for_pytorch():
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from anomalae.cli import main\n"
        "for words in (['runs'], ['runs', 'a'], ['runs', '--delete', 'a', '--yes']):\n"
        "    assert CliRunner().invoke(main, words).exit_code == 0, words\n"
        "print(sorted({'torch', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert there() == ["b"]


def test_delete_takes_the_runs_that_are_named_whole():
    Path("runs/a/.weights.safetensors.0123abcd.part").write_text("")  # as after a kill
    said = ok("runs", "--delete", "--yes", "a").stderr
    assert said == "deleted: runs/a\n"
    assert there() == ["b"]
    ok("runs", "--delete", "--yes", "--run", "runs/b")
    assert there() == []


def test_delete_takes_a_broken_run_and_an_interrupted_one(small: Detector):
    Path("runs/a/config.json").write_text("{")
    (Path("runs/b") / runs.CONFIG).unlink()
    (Path("runs/b") / runs.CHECKPOINT).write_text("")
    ok("runs", "--delete", "--yes", "a", "b")
    assert there() == []


def test_an_empty_name_is_not_the_run_one_stands_in(monkeypatch):
    runs_dir = Path("runs").absolute()
    monkeypatch.chdir("runs/a")
    fails(2, "runs", "--delete", "--yes", "--runs-dir", str(runs_dir), "")
    assert (runs_dir / "a" / "config.json").is_file()


def test_delete_refuses_what_is_no_run_and_then_deletes_nothing():
    project = Path("runs/project")
    project.mkdir()
    (project / runs.CONFIG).write_text("{}")
    Path("runs/a/thesis.txt").write_text("of years")
    Path("runs/b/figures").mkdir()
    Path("link").symlink_to("runs/a")
    before = there()
    for words, reason in (
        (["project"], "runs/project: is no run folder, so it is not deleted"),
        (["a"], "runs/a: is not deleted, for thesis.txt in it is not of the run"),
        (["b"], "runs/b: is not deleted, for figures in it is not of the run"),
        (["link"], "link: is a link, so it is not deleted"),
    ):
        assert reason in fails(1, "runs", "--delete", "--yes", *words)
    Path("runs/b/figures").rmdir()
    fails(1, "runs", "--delete", "--yes", "b", "a")
    assert there() == before
    assert Path("runs/a/thesis.txt").read_text() == "of years"
    Detector.load("runs/b")


def test_delete_refuses_a_run_that_a_training_holds():
    with runs.lock(Path("runs/a")):
        assert "a training is at work on it" in fails(1, "runs", "--delete", "--yes", "a")
        with pytest.raises(BundleError, match="at work"):
            runs.delete(Path("runs/a"))
    Detector.load("runs/a")


@pytest.mark.skipif(sys.platform == "win32", reason="has no terminals to open")
@pytest.mark.parametrize(
    ("answer", "status", "left"), [("y\n", 0, ["b"]), ("\n", 1, ["a", "b"]), ("\x03", 130, ["a", "b"])]
)
def test_delete_asks_first_at_a_terminal(answer: str, status: int, left: list[str]):
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "anomalae", "runs", "--delete", "a"],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=_take_terminal,
    )  # fmt: skip
    os.close(theirs)
    said = ""
    while "[y/N]: " not in said:
        said += os.read(ours, 1000).decode()
    assert "runs/a: dense ae, arrays, normal" in said
    assert "MB" in said
    # What is typed in the moment in which the line editor takes over the terminal may be lost, Ctrl-C too.
    time.sleep(2)
    for _ in range(30):
        os.write(ours, answer.encode())
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)
            break
    assert process.poll() == status
    os.close(ours)
    assert there() == left


def _take_terminal() -> None:
    """Make standard input the terminal from which Ctrl-C comes, and hear it where the tests run in the background."""
    import fcntl
    import signal
    import termios

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.slow
def test_the_argument_and_the_option_name_the_same_run():
    ok("train", "--normal", "0", *QUICK, "--quiet")
    by_argument = parsed("evaluate", "digits-0-ae", "--json")
    assert parsed("evaluate", "--run", "digits-0-ae", "--json") == by_argument
    reports = [parsed("report", *words, "--json") for words in (["digits-0-ae"], ["--run", "digits-0-ae"])]
    assert reports[0]["runs"] == reports[1]["runs"]
    table = parsed("compare", "digits-0-ae", "--baseline", "pca", "--threads", "1", "--json", "--quiet")
    assert table["run"] == "digits-0-ae"
