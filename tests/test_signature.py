"""What a detector can be asked for is known before it is run: to an editor, to mypy and to `help`."""

from __future__ import annotations

import dataclasses
import inspect
import os
import pydoc
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_type_hints

import pytest

from anomalae import Detector, Settings
from anomalae.settings import DESCRIPTIONS, SettingArguments, takes_settings

ROOT = Path(__file__).parent.parent

GOOD = """
import torch
from anomalae import Detector

settings: dict[str, int] = {}
Detector(model="vae", latent_dim=16, hidden=[64, 32], views=["pixels"], epochs=None, noise=1, seed=3)
Detector(device=torch.device("cpu"), threads=1)
detector = Detector.load("runs/zeros", device="cuda:0").to(torch.device("cpu"))
detector.fit(["a.png", "b.png"], preprocess="resize").score("images")
"""
# Each line is an error, and the words that mypy says of it.
BAD = {
    "Detector(latent_dmi=3)": 'Unexpected keyword argument "latent_dmi"',
    'Detector(latent_dim="a")': 'Argument "latent_dim" to "Detector" has incompatible type "str"',
    "Detector(hidden=32)": 'Argument "hidden" to "Detector" has incompatible type "int"',
    "Detector(model=None)": 'Argument "model" to "Detector" has incompatible type "None"',
    'Detector("vae")': "Too many positional arguments",
    "Detector().fit([], preprocess=28)": 'Argument "preprocess" to "fit" of "Detector"',
    "Detector().scores([])": '"Detector" has no attribute "scores"',
}
# Packages that a user's script is not checked against take most of the time.
CONFIG = """
[mypy]
follow_imports = silent
[mypy-torch.*,torchvision.*,numpy.*,scipy.*,sklearn.*,pyod.*,PIL.*,matplotlib.*,safetensors.*]
follow_imports = skip
"""


def test_the_arguments_are_the_fields_of_the_settings():
    arguments, fields = get_type_hints(SettingArguments), get_type_hints(Settings)
    assert list(arguments) == [field.name for field in dataclasses.fields(Settings)]
    sequences = {tuple[int, ...]: Sequence[int], tuple[str, ...]: Sequence[str]}
    assert arguments == {
        name: sequences.get(kind, kind) for name, kind in fields.items() if name in arguments
    }
    assert not SettingArguments.__required_keys__


def test_the_signature_has_each_setting_with_its_default():
    parameters = inspect.signature(Detector).parameters
    assert list(parameters) == ["device", "threads", *DESCRIPTIONS]
    for field in dataclasses.fields(Settings):
        assert parameters[field.name].default == field.default
        assert parameters[field.name].kind is inspect.Parameter.KEYWORD_ONLY


def test_help_lists_each_setting_with_its_range_default_and_sentence():
    text = " ".join(pydoc.plain(pydoc.render_doc(Detector)).replace("|", " ").split())
    for name, description in DESCRIPTIONS.items():
        assert f"{name}: {description.help} [" in text
    assert "latent_dim: Width of the embedding. [whole number from 1 to 784; default 16]" in text
    assert "learning_rate: Peak of the one-cycle schedule. [number above 0; default 0.002]" in text
    assert "[dense, conv; default dense]" in text
    assert "[whole numbers from 1; default 512,256; conv: 32,64]" in text
    assert "threads: CPU threads" in text


def test_a_function_without_a_docstring_has_none_added():
    def function(**settings: object) -> None: ...

    assert takes_settings(function).__doc__ is None
    assert "latent_dim" in inspect.signature(function).parameters


def test_public_methods_have_an_example_and_name_their_arguments():
    for name, method in inspect.getmembers(Detector, inspect.isroutine):
        if name.startswith("_"):
            continue
        text = inspect.getdoc(method)
        for argument in set(inspect.signature(method).parameters) - {"self"}:
            assert re.search(rf"\b{argument}\b", text), f"{name}: {argument}"
        # `write` and `check_rule` are for the command line; `load` is in the example of `save`.
        assert ">>>" in text or name in {"write", "check_rule", "load"}, name


@pytest.mark.parametrize("hidden", [[32], (32,), range(32, 33)])
def test_any_sequence_will_do(hidden: Sequence[int]):
    assert Detector(hidden=hidden, views=["pixels"]).settings.hidden == (32,)


def test_mypy_checks_a_users_script(tmp_path: Path):
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text("\n".join(["from anomalae import Detector", *BAD]) + "\n")
    (tmp_path / "mypy.ini").write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=mypy.ini", "--cache-dir=.mypy", "good.py", "bad.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert not [line for line in lines if not line.startswith("bad.py")], done.stdout + done.stderr
    for number, (code, words) in enumerate(BAD.items(), 2):
        said = [line for line in lines if line.startswith(f"bad.py:{number}: ")]
        assert said, f"{code}: {done.stdout}{done.stderr}"
        assert words in said[0]
