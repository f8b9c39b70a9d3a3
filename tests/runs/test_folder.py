"""Run folders: names, the newest finished one, locks, and replacing a folder whole."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anomalae import runs
from anomalae.errors import BundleError
from tests.cli import fails, parsed


def finished(folder: Path, age: float = 0) -> Path:
    folder.mkdir(parents=True)
    config = folder / runs.CONFIG
    config.write_text("{}")
    os.utime(config, (1e9 - age, 1e9 - age))
    return folder


def test_automatic_names_count_up_and_given_ones_are_refused_when_taken(tmp_path):
    assert runs.create(tmp_path, None, "m").name == "m"
    assert runs.create(tmp_path, None, "m").name == "m-2"
    assert runs.create(tmp_path, "own", "m").name == "own"
    with pytest.raises(BundleError, match="own: exists already"):
        runs.create(tmp_path, "own", "m")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "-x", "a b", "x" * 101, "a\nb", ".."])
def test_names_that_could_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(BundleError, match="run name"):
        runs.create(tmp_path / "runs", name, "m")
    assert not (tmp_path / "x").exists()


def test_newest_finished_run_is_taken(tmp_path):
    finished(tmp_path / "old", age=50)
    finished(tmp_path / "new", age=10)
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / runs.CHECKPOINT).write_text("")
    (tmp_path / "something else").mkdir()
    assert runs.resolve(None, tmp_path).name == "new"
    assert [f.name for f in runs.list_runs(tmp_path)] == ["unfinished", "new", "old"]
    assert runs.resolve("old", tmp_path) == tmp_path / "old"
    assert runs.resolve(str(tmp_path / "old"), Path("elsewhere")) == tmp_path / "old"
    with pytest.raises(BundleError, match="unfinished: not finished") as caught:
        runs.resolve("unfinished", tmp_path)
    assert (caught.value.advice, caught.value.about) == ("resume", "unfinished")
    with pytest.raises(BundleError, match="no such run"):
        runs.resolve("none", tmp_path)
    with pytest.raises(BundleError, match="no finished run here"):
        runs.resolve(None, tmp_path / "nowhere")


def test_lock_keeps_two_processes_apart_and_goes_with_its_process(tmp_path):
    hold = (
        "import sys, time; from pathlib import Path; from anomalae import runs\n"
        "with runs.lock(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert runs.is_locked(tmp_path)
        with pytest.raises(BundleError, match="another training is at work"), runs.lock(tmp_path):
            pass
        other.kill()  # as kill -9
        other.wait()
    assert not runs.is_locked(tmp_path)
    with runs.lock(tmp_path):
        pass


def test_a_lock_of_an_older_anomalae_is_taken_and_an_empty_folder_removed(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".lock").touch(mode=0o644)  # which stays behind
    assert not runs.is_locked(folder)
    with runs.lock(folder):
        assert runs.is_locked(folder)
    assert not runs.is_locked(folder)
    runs.remove_left_over(folder)
    assert not folder.exists()
    (tmp_path / "new").mkdir()
    with runs.lock(tmp_path / "new"):
        pass
    runs.remove_left_over(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(BundleError) as caught, runs.lock(tmp_path):
        pass
    assert str(caught.value) == f"{tmp_path / '.lock'}: cannot be written: {os.strerror(errno.EISDIR)}"
    assert not runs.is_locked(tmp_path)


def test_replace_folder_keeps_the_old_one_when_writing_fails(tmp_path):
    folder = tmp_path / "run"
    runs.replace_folder(folder, lambda f: (f / runs.CONFIG).write_text("1") and None)

    def fail(temporary: Path) -> None:
        (temporary / runs.CONFIG).write_text("2")
        raise BundleError("no space")

    with pytest.raises(BundleError, match="no space"):
        runs.replace_folder(folder, fail)
    assert (folder / runs.CONFIG).read_text() == "1"
    runs.replace_folder(folder, lambda f: (f / "y").write_text("3") and None)
    assert [p.name for p in folder.iterdir()] == ["y"]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_slug_makes_names_that_are_allowed():
    for text in (
        "mnist-0-ae",
        "../../x",
        "a b\n[red]",
        "é",
        "e\u0301",
        "x" * 300,
        "三" * 300,
        "\udcff",
        "-_-",
    ):
        assert runs.check_name(runs.slug(text))
    assert runs.slug("folder-三+é-ae") == "folder-三+é-ae"


@pytest.mark.parametrize(
    "name", ["", "-x", "_x", ".x", "a b", "a/b", "a\nb", "x" * 101, "三" * 67, "a\udcff", "*"]
)
def test_names_that_no_run_can_have_are_refused(name):
    with pytest.raises(BundleError, match="beginning with a letter or a digit"):
        runs.check_name(name)


def test_a_broken_history_spoils_its_own_line_of_the_list_only(small):
    for name in ("whole", "broken"):
        small.save(f"runs/{name}")
    Path("runs/broken/history.jsonl").write_text("{")
    listed = {run["run"]: run for run in parsed("runs", "--json")}
    assert listed["whole"]["status"] == "finished"
    assert listed["broken"]["status"] == "broken"
    assert "history.jsonl" in listed["broken"]["error"]


@pytest.mark.parametrize(
    "keys", [("seconds",), ("validation",), ("parts",), ("data", "hashes"), ("data", "n_train")]
)
def test_null_is_no_value_of_a_record(keys, small):
    small.save("runs/a")
    config = json.loads(Path("runs/a/config.json").read_text())
    *above, last = keys
    (config[above[0]] if above else config)[last] = None
    Path("runs/a/config.json").write_text(json.dumps(config))
    assert f"{'.'.join(keys)} is None, of the wrong kind" in fails(1, "evaluate", "--run", "a")


def test_a_data_set_has_a_name_that_is_text(small):
    small.save("runs/a")
    config = json.loads(Path("runs/a/config.json").read_text())
    config["data"]["name"] = 5
    Path("runs/a/config.json").write_text(json.dumps(config))
    assert "data.name is 5, of the wrong kind" in fails(1, "evaluate", "--run", "a")
