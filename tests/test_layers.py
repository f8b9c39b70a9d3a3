"""The contracts of pyproject.toml hold of the imports, and each says something: changed a little, it is broken."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from importlinter import configuration
from importlinter.application import use_cases

ROOT = Path(__file__).parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
OPTIONS: dict[str, Any] = tomllib.loads(PYPROJECT)["tool"]["importlinter"]
CONTRACTS = {contract["name"]: contract for contract in OPTIONS["contracts"]}
LAYERS = next(name for name, contract in CONTRACTS.items() if contract["type"] == "layers")
# Rooms that are not built yet, as "(server)", hold nothing that could be out of place.
LINES = [line for line in CONTRACTS[LAYERS]["layers"] if not line.startswith("(")]
PAIRS = list(pairwise(LINES))
# Baselines name PyOD's classes in strings, and import the one that is asked for.
PROTECTED = [
    (name, importer)
    for name, contract in CONTRACTS.items()
    if contract["type"] == "protected"
    for importer in contract["allowed_importers"]
    if (contract["protected_modules"], importer) != (["pyod"], "anomalae.experiments.baselines")
]
NOBODY = "anomalae.version"

configuration.configure()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("imports"))


@pytest.fixture
def broken(cache: str, capsys: pytest.CaptureFixture[str]) -> Callable[[str], set[str]]:
    """Names of the contracts that do not hold, where such a text is what pyproject.toml says."""

    def told(pyproject: str) -> set[str]:
        path = Path("pyproject.toml").absolute()
        path.write_text(pyproject, encoding="utf-8")
        kept = use_cases.lint_imports(str(path), cache_dir=cache, no_logo=True)
        said = " ".join(capsys.readouterr().out.split())
        verdicts = {name: re.search(rf"{re.escape(name)} (KEPT|BROKEN)", said) for name in CONTRACTS}
        assert all(verdicts.values()), said
        names = {name for name, verdict in verdicts.items() if verdict[1] == "BROKEN"}
        assert kept == (not names)
        return names

    return told


def changed(contract: str, old: str, new: str) -> str:
    """pyproject.toml with a word of this contract exchanged."""
    before, marker, rest = PYPROJECT.partition(f'name = "{contract}"')
    own, following, after = rest.partition("[[tool.importlinter.contracts]]")
    assert marker
    assert old in own
    return before + marker + own.replace(old, new, 1) + following + after


def test_they_hold(broken):
    assert broken(PYPROJECT) == set()


@pytest.mark.parametrize(("upper", "lower"), PAIRS)
def test_no_two_layers_can_change_places(upper, lower, broken):
    swapped = changed(LAYERS, f'"{upper}"', '"-"').replace(f'"{lower}"', f'"{upper}"', 1)
    assert broken(swapped.replace('"-"', f'"{lower}"', 1)) == {LAYERS}


@pytest.mark.parametrize(("upper", "lower"), PAIRS)
def test_no_two_layers_can_be_one(upper, lower, broken):
    """Rooms of one layer may not know each other."""
    together = changed(LAYERS, f'"{upper}",', "").replace(f'"{lower}"', f'"{upper} | {lower}"', 1)
    assert broken(together) == {LAYERS}


@pytest.mark.parametrize("line", LINES[:-1])
def test_no_layer_can_be_the_lowest(line, broken):
    bottom = changed(LAYERS, f'"{line}",', "").replace(f'"{LINES[-1]}"', f'"{LINES[-1]}", "{line}"', 1)
    assert broken(bottom) == {LAYERS}


@pytest.mark.parametrize("room", [room for line in LINES for room in line.split(" | ")])
def test_every_room_has_its_layer(room, broken):
    line = next(line for line in LINES if room in line.split(" | "))
    others = " | ".join(other for other in line.split(" | ") if other != room)
    pyproject = changed(LAYERS, f'"{line}",', f'"{others}",' if others else "")
    assert broken(pyproject) == {LAYERS}


@pytest.mark.parametrize(("contract", "importer"), PROTECTED)
def test_who_may_import_does(contract, importer, broken):
    assert broken(changed(contract, f'"{importer}"', f'"{NOBODY}"')) == {contract}


def test_what_is_put_aside_is_all_that_detectors_know_of_data_sets(broken):
    contract = next(name for name in CONTRACTS if name.startswith("Labels"))
    (ignored,) = CONTRACTS[contract]["ignore_imports"]
    assert ignored == "anomalae.detectors.* -> anomalae.datasets.splits"
    assert broken(changed(contract, f'"{ignored}"', "")) == {contract}


@pytest.mark.parametrize(
    "contract", [n for n, contract in CONTRACTS.items() if contract["type"] == "forbidden"]
)
def test_what_is_forbidden_would_be_seen(contract, broken):
    pyproject = changed(contract, "source_modules = [", 'source_modules = ["anomalae.models", ')
    assert broken(pyproject) == {contract}
