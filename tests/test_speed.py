"""benchmarks/speed.py measures what it says, and tells noise from change. Nothing here asserts a time."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from anomalae.settings import PRESETS, Settings

ROOT = Path(__file__).parent.parent


@pytest.fixture
def timing(monkeypatch):
    """Modules of the benchmark, by name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return lambda name: importlib.import_module(f"timing.{name}" if name != "speed" else name)


def measure(timing, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["speed.py", "--quick", "--output", "speed", *arguments])
    timing("speed").main()


@pytest.mark.slow
def test_everything_is_measured_kept_and_compared(timing, monkeypatch, capsys):
    measure(timing, monkeypatch, "--name", "first")
    assert "the first of its kind" in capsys.readouterr().out
    kept = json.loads(Path("speed/first.json").read_text(encoding="utf-8"))
    assert kept["threads"] == 1
    assert kept["processor"]
    assert {"torch", "numpy", "pyod"} <= set(kept["versions"])
    values = {(row["section"], row["name"]): np.array(row["values"]) for row in kept["rows"]}
    assert {section for section, _ in values} == {"training", "scoring", "neighbours", "folders", "start-up"}
    for kind in ("default", "vae", *PRESETS):
        ratio = values["training", kind] / values["training", "PyOD, defaults"]
        np.testing.assert_allclose(values["training", f"{kind} / PyOD, defaults"], ratio)
        assert ("training", f"{kind} / its products alone") in values
        assert ("scoring", f"{kind} / its forward pass") in values
        shares = [
            v
            for (section, name), v in values.items()
            if section == "scoring" and name.startswith(f"{kind}: ")
        ]
        np.testing.assert_allclose(np.sum(shares, axis=0), 100)
        assert ("scoring", f"{kind}: neighbours") in values or not Settings.of(
            **PRESETS.get(kind, {})
        ).neighbours
        # Our own networks, scores and views are what is timed.
        assert all(values["scoring", f"{kind}: {part}"].min() > 0 for part in ("view", "network", "score"))
    assert all(np.isfinite(value).all() for value in values.values())
    assert "| training | default |" in Path("speed/first.md").read_text(encoding="utf-8")

    measure(timing, monkeypatch, "--name", "second", "--only", "neighbours")
    assert f"Since {Path('speed', 'first.json')} of {kept['created']}" in capsys.readouterr().out
    measure(timing, monkeypatch, "--name", "third", "--only", "neighbours", "--against", "speed/second.json")
    assert "gone: nothing" in capsys.readouterr().out


def test_an_unknown_section_is_named(timing, monkeypatch, capsys):
    with pytest.raises(SystemExit) as done:
        measure(timing, monkeypatch, "--only", "scoring,sleeping")
    assert done.value.code == 2
    assert "'sleeping': must be of training, scoring" in capsys.readouterr().err


def test_each_work_is_done_once_a_round_and_none_is_always_first(timing):
    done, now = [], iter(range(100))
    works = {"a": lambda: done.append("a"), "b": lambda: done.append("b")}
    seconds = timing("rounds").interleaved(works, 3, clock=lambda: next(now))
    assert "".join(done) == "abbaab"
    assert seconds == {"a": [1, 1, 1], "b": [1, 1, 1]}


def test_what_a_child_computes_counts(timing):
    cpu_seconds, own = timing("rounds").cpu_seconds, time.process_time()
    seconds = cpu_seconds()
    subprocess.run([sys.executable, "-c", ""], check=True)
    seconds = cpu_seconds() - seconds
    # Read later, and before: more than what was spent here in between.
    assert seconds > time.process_time() - own


def test_what_a_part_spends_in_another_is_not_its_own(timing):
    now = [0.0]

    def passes(seconds):
        now[0] += seconds

    watch = timing("parts").Stopwatch(lambda: now[0])
    inner = watch.timed("view", lambda: passes(5))

    def outer():
        passes(1)
        inner()
        passes(2)

    watch.timed("score", outer)()
    passes(100)
    inner()
    assert dict(watch.seconds) == {"score": 3, "view": 10}


def test_products_of_a_step_are_those_of_its_layers(timing):
    settings = Settings.of(hidden=(32,), latent_dim=4)
    made = timing("products").products(settings, 10)
    sizes = [(p.rows, p.inputs, p.outputs, p.to_inputs) for p in made]
    assert sizes == [(10, 784, 32, False), (10, 32, 4, True), (10, 4, 32, True), (10, 32, 784, True)]
    forward = 2 * 10 * 2 * (784 * 32 + 32 * 4)
    # Thrice as many with the way back, but for the gradient of the images.
    assert sum(p.operations for p in made) == 3 * forward - 2 * 10 * 784 * 32
    assert len(timing("products").products(Settings.of(hidden=(32,), latent_dim=4, members=2), 10)) == 8


@pytest.mark.parametrize("library", ["PyTorch", "NumPy"])
def test_a_library_makes_the_products(timing, library):
    """What is measured as the floor is multiplied, not skipped."""
    products = timing("products")
    made = [products.Product(3, 4, 5, True)]
    arrays = products.room(made[0])
    products.steps(library, made, 1, [arrays])()
    x, w, y, dx, dw = arrays
    np.testing.assert_allclose(y, x @ w.T, rtol=1e-6)
    np.testing.assert_allclose(dw, y.T @ x, rtol=1e-6)
    np.testing.assert_allclose(dx, y @ w, rtol=1e-6)


def row(timing, values, name="default", unit="times"):
    return timing("rounds").Row("training", name, unit, values)


@pytest.mark.parametrize(
    ("now", "before", "told"),
    [
        ([12, 12.1, 12.2], [10, 10.1, 10.2], "slower"),
        ([10, 10.1, 10.2], [12, 12.1, 12.2], "faster"),
        # The same medians, of rounds that differ more.
        ([8, 12.1, 14], [8, 10.1, 12], None),
        ([10, 10.15, 10.2], [10, 10.1, 10.2], None),
        # Of a single round nobody knows the noise.
        ([20], [10], None),
    ],
)
def test_slower_is_what_noise_does_not_explain(timing, now, before, told):
    table = timing("table")
    documents = [table.document([row(timing, values)], threads=1) for values in (now, before)]
    lines = table.changes(*documents)
    assert {change for change, listed in lines.items() if listed} == ({told} if told else set())


def test_rounds_that_agree_by_luck_are_as_unsure_as_the_others(timing):
    rows = [row(timing, values) for values in ([10, 10, 10], [9, 10, 11], [9, 10, 11])]
    assert timing("table").noises(rows) == [pytest.approx(0.1)] * 3


def test_rows_that_come_and_go_are_named(timing):
    table = timing("table")
    now, before = (table.document([row(timing, [1, 2], name)], threads=1) for name in ("new", "old"))
    lines = table.changes(now, before)
    assert (lines["not there before"], lines["gone"]) == (["training, new"], ["training, old"])


def test_only_what_was_made_alike_is_compared_with(timing):
    table, made_with = timing("table"), {"dataset": "mnist", "normal": 8, "quick": False}
    now = table.document([row(timing, [1, 2])], threads=1, **made_with)
    folder = Path("kept")
    folder.mkdir()
    kinds = {
        "alike": {},
        "threads": {"threads": 2},
        "quick": {"quick": True},
        "processor": {"processor": "another"},
        "rows": {"rows": []},
    }
    for name, other in kinds.items():
        when = "2020" if name == "alike" else "2021"
        Path(folder, f"{name}.json").write_text(
            json.dumps({**now, "created": when, **other}), encoding="utf-8"
        )
    assert table.newest(folder, now) == folder / "alike.json"
    assert table.newest(Path("nowhere"), now) is None
