"""`completion`: shells complete commands, options, runs and data sets; nothing heavy is imported for it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from anomalae import Detector
from anomalae.cli.commands.completion import SHELLS, VARIABLE
from tests.cli import fails, ok
from tests.cli.terminal import Terminal

CALL = "from anomalae.cli import main; main(prog_name='anomalae')"


def completed(line: str) -> list[str]:
    """What bash is told when this line is completed."""
    words = line.split(" ")
    asked = {VARIABLE: "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    code = f"import sys\ntry:\n    {CALL}\nfinally:\n    assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture
def two_runs(small: Detector) -> None:
    for name in ("digits-0-ae", "digits-0-ae-2"):
        small.save(f"runs/{name}")
    Path("runs/digits-1-ae").mkdir()
    Path("runs/digits-1-ae/checkpoint.safetensors").write_bytes(b"")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("anomalae eval", ["plain,evaluate"]),
        ("anomalae data f", ["plain,fetch"]),
        ("anomalae train --latent", ["plain,--latent-dim"]),
        ("anomalae train --model ladder", ["plain,ladder-vae"]),
        ("anomalae train --dataset fash", ["file,fash", "plain,fashion-mnist"]),
        ("anomalae data export dig", ["file,dig", "plain,digits"]),
        ("anomalae plot his", ["plain,history"]),
        ("anomalae score im", ["file,im"]),
        ("anomalae completion fi", ["plain,fish"]),
    ],
)
def test_words_are_completed(line, offered):
    assert completed(line) == offered


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("anomalae score --run digits-0", {"digits-0-ae", "digits-0-ae-2"}),
        ("anomalae report digits-0", {"digits-0-ae", "digits-0-ae-2"}),
        ("anomalae runs digits-1", {"digits-1-ae"}),
        ("anomalae train --resume ", {"digits-1-ae"}),
        ("anomalae evaluate --run digits-1", set()),
        ("anomalae evaluate --runs-dir elsewhere --run ", set()),
    ],
)
def test_names_of_runs_are_completed(two_runs, line, names):
    offered = completed(line)
    assert offered[0].startswith("dir,")
    assert {item.removeprefix("plain,") for item in offered[1:]} == names


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_for_its_shell(shell):
    script = ok("completion", shell).stdout
    assert "anomalae" in script
    assert f"{VARIABLE}={shell}_complete" in script


def test_another_shell_is_wrong_usage():
    assert "'bash', 'zsh', 'fish'" in fails(2, "completion", "tcsh")


@pytest.fixture
def on_path(tmp_path: Path) -> str:
    """A PATH on which `anomalae` is this one."""
    program = tmp_path / "bin" / "anomalae"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{CALL}" "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
def test_bash_completes_a_name_that_is_typed(two_runs, on_path):
    with Terminal("bash", "--norc", "--noprofile", "-i", columns=80, PATH=on_path, PS1="$ ") as terminal:
        terminal.type('eval "$(anomalae completion bash)"; printf "rea%s" dy\n')
        terminal.until("ready")
        terminal.type("anomalae evaluate --run digits-0\t")
        terminal.until("anomalae evaluate --run digits-0-ae")
        terminal.type("\x15exit\n")
        terminal.end()


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not here")
def test_fish_completes_a_name(two_runs, on_path):
    asked = "anomalae completion fish | source; complete -C 'anomalae evaluate --run digits-0'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", asked],
        env={**os.environ, "PATH": on_path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"digits-0-ae", "digits-0-ae-2"} <= set(done.stdout.split())


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not here")
def test_zsh_completes_a_name_that_is_typed(two_runs, on_path):
    with Terminal("zsh", "-f", "-i", columns=80, PATH=on_path, PS1="$ ") as terminal:
        terminal.type(
            'autoload -U compinit; compinit -u -D; eval "$(anomalae completion zsh)"; printf "rea%s" dy\n'
        )
        terminal.until("ready")
        terminal.type("anomalae evaluate --run digits-0\t")
        terminal.until("anomalae evaluate --run digits-0-ae")
        terminal.type("\x15exit\n")
        terminal.end()
