"""`tune`: finds settings with normal images alone, goes on where it was, and writes what `train --config` takes."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalae import Settings, load_dataset, runs
from anomalae.datasets.dataset import Part, make_dataset
from anomalae.errors import AnomalaeError, TrainingError
from anomalae.experiments import tuning
from anomalae.experiments.cells import Result
from anomalae.experiments.executors.here import Here
from anomalae.experiments.studies.choosing import LOSS, SYNTHETIC
from anomalae.experiments.studies.selection import TOGETHER
from anomalae.experiments.studies.synthetic import ALL, told_apart
from anomalae.experiments.studies.trained import Problem
from anomalae.experiments.trials import BY_EPOCH, VALUE, Pruning, Trial, look_epochs, measure, winner
from anomalae.experiments.tuning import Tuning
from anomalae.experiments.worth import worth
from anomalae.runs.locks import lock
from anomalae.text import toml
from tests.cli import fails, ok, parsed, run

pytest.importorskip("optuna")
# A test that makes trials takes a second a trial or less.
TINY = ("--normal", "0-4", "--dataset", "digits", "--hidden", "16", "--epochs", "1", "--views", "pixels")
FOLDER = Path("reports/tuning/digits-0-4")
FIXED: dict[str, Any] = {"hidden": (8,), "epochs": 1, "views": ("pixels",), "score": "mse"}


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def search(digits, folder: Path, seeds: tuple[int, ...] = (0,), **more: Any) -> Tuning:
    return Tuning(digits, (0, 1, 2, 3, 4), folder, {**FIXED, **more}, seeds)


@pytest.fixture
def judged_by(monkeypatch):
    """Returns a function that puts another value, of settings and seed, in the place of training."""

    def put(value):
        def measure(dataset, arguments):
            return Result({VALUE: value(arguments["settings"], arguments["seed"]), BY_EPOCH: []})

        monkeypatch.setattr(tuning, "measure", measure)

    return put


def stopped(settings: dict[str, Any], seed: int) -> float:
    raise KeyboardInterrupt


def test_tune_tells_of_each_trial_and_train_takes_the_winner():
    result = ok("tune", *TINY, "--trials", "2", "--seeds", "0")
    assert "trial 1 of 2: 0." in result.stderr
    assert "latent-dim 16, noise 1, learning-rate 0.002, score bent; " in result.stderr
    assert "trial 2 of 2: 0." in result.stderr
    assert "Warning: 32 held-out images: with fewer than 50, how well they are told" in result.stderr
    assert "What the rule is worth: in the study of 10 problems made in full on MNIST" in result.stdout
    assert f"anomalae train --config {FOLDER}/winner.toml" in result.stdout
    found = tomllib.loads((FOLDER / "winner.toml").read_text())
    assert found["normal"] == ["0", "1", "2", "3", "4"]
    assert found["hidden"] == [16]
    ok("train", "--config", FOLDER / "winner.toml", "--quiet")
    config = json.loads((runs.resolve(None, Path("runs")) / "config.json").read_text())
    assert config["data"]["normal"] == [0, 1, 2, 3, 4]
    for name in ("latent_dim", "noise", "learning_rate", "score", "views", "hidden", "epochs"):
        assert config["settings"][name] == found[name.replace("_", "-")], name


def test_tune_goes_on_with_more_trials_and_prints_json():
    first = parsed("tune", *TINY, "--trials", "1", "--seeds", "0", "--quiet", "--json")
    assert (first["trials"], first["best"], first["value"]) == (1, 1, first["default"])
    second = ok("tune", *TINY, "--trials", "2", "--seeds", "0", "--json")
    assert "trial 1 of" not in second.stderr
    assert "trial 2 of 2" in second.stderr
    document = json.loads(second.stdout)
    assert (document["trials"], document["default"], document["search"]) == (
        2,
        first["value"],
        first["search"],
    )
    assert document["worth"].startswith("What the rule is worth")
    assert json.loads((FOLDER / "tuning.json").read_text())["settings"] == document["settings"]
    assert not any(
        "trial" in line for line in ok("tune", *TINY, "--trials", "2", "--seeds", "0", "--quiet").stderr
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "say which classes are normal, as in --normal 3"),
        (("--normal", "0", "--anomalous", "1"), "say which classes are normal"),
        (("--normal", "17", "--dataset", "digits"), "17"),
        (("--normal", "0-9", "--dataset", "digits"), "digits: no class is left to be anomalous"),
        (("--normal", "0", "--trials", "0"), "0 is not in the range"),
        (("--normal", "0", "--seeds", "a"), "--seeds 'a': expected whole numbers"),
        (("--normal", "0", "--model", "vae", "--score", "bet"), "bet"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(words, line):
    assert line in fails(2, "tune", *words)
    assert not Path("reports").exists()


def test_optuna_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert "pip install 'anomalae[tune]'" in fails(1, "tune", *TINY)


def test_a_file_that_holds_no_trials_is_named():
    FOLDER.mkdir(parents=True)
    (FOLDER / "trials.db").write_text("no database, but a text that is longer than its header would be " * 20)
    assert "trials.db: not usable as a file of trials" in fails(1, "tune", *TINY, "--trials", "1")


def test_an_interrupted_search_says_how_to_go_on(judged_by):
    judged_by(stopped)
    result = run("tune", *TINY, "--trials", "2")
    assert result.exit_code == 130
    assert "Interrupted with 0 trials done now; the same command goes on." in result.stderr


# --- the search itself ---


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_search_that_was_broken_off_makes_the_same_trials(digits, tmp_path, judged_by, jobs):
    executor = Here()
    executor.jobs = jobs

    def by_width(settings: dict[str, Any], seed: int) -> float:
        return settings["latent_dim"] / 1000

    judged_by(by_width)
    whole = search(digits, tmp_path / "whole").run(12, executor=executor)
    apart = search(digits, tmp_path / "a % and ?")
    apart.run(3, executor=executor)
    apart.run(6, executor=executor)
    judged_by(stopped)
    with pytest.raises(KeyboardInterrupt):
        apart.run(12, executor=executor)
    # Killed, a trial stays as if it were running.
    with sqlite3.connect(tmp_path / "a % and ?" / "trials.db") as database:
        changed = database.execute("UPDATE trials SET state = 'RUNNING' WHERE state = 'FAIL'")
    assert changed.rowcount == jobs
    judged_by(by_width)
    assert [trial.settings for trial in apart.run(12, executor=executor)] == [
        trial.settings for trial in whole
    ]
    assert len({str(trial.settings) for trial in whole}) == 12
    assert [trial.number for trial in whole] == list(range(1, 13))


def test_the_first_trial_is_the_default_and_the_best_is_kept(digits, tmp_path, judged_by):
    judged_by(lambda settings, seed: 1 / settings["latent_dim"])
    tuning_ = search(digits, tmp_path)
    trials = tuning_.run(4)
    assert trials[0].settings["latent_dim"] == 16
    assert trials[0].settings["learning_rate"] == 0.002
    best = min(trials, key=lambda trial: trial.settings["latent_dim"])
    assert winner(trials) == best
    assert tomllib.loads((tmp_path / "winner.toml").read_text())["latent-dim"] == best.settings["latent_dim"]
    assert tuning_.document(trials)["value"] == 1 / best.settings["latent_dim"]


def test_a_trial_that_is_worse_than_half_of_the_others_is_broken_off(digits, tmp_path, judged_by):
    seen: list[int] = []

    def value(settings: dict[str, Any], seed: int) -> float:
        seen.append(seed)
        return 0.9 - 0.1 * (len(seen) > 8)

    judged_by(value)
    trials = search(digits, tmp_path, seeds=(3, 4)).run(5)
    assert seen == [3, 4] * 4 + [3]
    assert [trial.pruned for trial in trials] == [False] * 4 + [True]
    assert trials[4].value is None
    assert trials[0].value == pytest.approx(0.9)


def stored(folder: Path) -> list[Any]:
    """Returns Optuna's trials of a folder."""
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'trials.db'}")
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).get_trials()


def test_a_training_that_does_worse_is_broken_off_as_optuna_would(digits, tmp_path, monkeypatch):
    import optuna

    # Of each trial: up to which look its value rises, and where it begins.
    courses = [
        (9, 0.0),
        (9, 0.01),
        (9, 0.02),
        (9, 0.03),
        (0, 0.02),
        (2, 0.02),
        (4, 0.02),
        (9, 0.01),
        (9, 0.02),
    ]
    known: dict[str, tuple[int, float]] = {}

    def made_up(dataset, arguments):
        """In place of a training of 6 epochs, broken off as one would be."""
        rises, begin = known.setdefault(str(arguments["settings"]), courses[len(known) % len(courses)])
        values = begin + 0.1 * np.minimum(np.arange(8), rises)
        values = values[4 * (arguments["seed"] - 3) :][:4]
        pruning, seen = Pruning(**arguments["pruning"]), {}
        for epoch, value in zip(look_epochs(6), values, strict=False):
            seen[epoch] = value
            if pruning.hopeless(seen):
                return Result({VALUE: None, BY_EPOCH: list(seen.items())})
        return Result({VALUE: values[3], BY_EPOCH: list(seen.items())})

    monkeypatch.setattr(tuning, "measure", made_up)
    tuning_ = search(digits, tmp_path / "apart", seeds=(3, 4), epochs=6)
    # Broken off itself, a search goes on by what was seen of the trainings.
    tuning_.run(5)
    trials = tuning_.run(9)
    whole = search(digits, tmp_path / "whole", seeds=(3, 4), epochs=6).run(9)
    assert [replace(trial, seconds=0) for trial in trials] == [replace(trial, seconds=0) for trial in whole]
    told = stored(tmp_path / "apart")
    ends = []
    for place, (trial, kept) in enumerate(zip(trials, told, strict=True)):
        steps = list(kept.intermediate_values)
        assert steps == [1, 2, 3, 6, 7, 8, 9, 12][: len(steps)]
        # Optuna is asked anew, after each value.
        pruner = optuna.pruners.MedianPruner(n_startup_trials=tuning.UNPRUNED)
        with tuning._quiet(optuna):
            anew = optuna.create_study(direction="maximize", pruner=pruner)
        anew.add_trials(told[:place])
        asked = anew.ask()
        said = []
        for step, value in kept.intermediate_values.items():
            asked.report(value, step)
            said.append(step != 12 and asked.should_prune())
        assert said == [False] * (len(steps) - 1) + [trial.pruned]
        assert trial.pruned == (len(steps) < 8)
        last = kept.intermediate_values[steps[-1]]
        assert (trial.value, trial.reached) == ((None, last) if trial.pruned else (last, None))
        ends.append(steps[-1])
    # In the first training, after it, in the second, and at the first look.
    assert ends == [12, 12, 12, 12, 2, 6, 8, 1, 12]
    assert not winner(trials).pruned
    assert tuning_.document(trials)["pruned"] == sum(trial.pruned for trial in trials)


def test_what_is_not_broken_off_has_the_same_bits_with_and_without_pruning(digits, tmp_path):
    with_, without = (
        Tuning(digits, (0, 1, 2, 3, 4), tmp_path / str(prune), {**FIXED, "epochs": 2}, (0,), prune)
        for prune in (True, False)
    )
    assert with_.name != without.name
    (before,), (after,) = with_.run(1), without.run(1)
    assert (before.settings, before.value) == (after.settings, after.value)
    assert [list(kept.intermediate_values) for kept in stored(tmp_path / "True")] == [[1, 2]]
    assert [list(kept.intermediate_values) for kept in stored(tmp_path / "False")] == [[2]]
    assert not without.document([after])["pruning"]


@pytest.mark.parametrize(
    "settings",
    [
        {"views": ("pixels",), "score": "nap"},
        {"views": ("pixels", "edges"), "score": "mse", "neighbours": 1},
        {"model": "vae", "views": ("pixels",)},
    ],
)
def test_a_look_into_a_training_sees_what_its_end_would(digits, settings, monkeypatch):
    """Judged after the last epoch as in between, its value is that of the detector that is made of it."""
    from anomalae.experiments import trials

    settings = {"hidden": (8,), "latent_dim": 4, "epochs": 2, "learning_rate": 0.02, **settings}
    monkeypatch.setattr(trials, "look_epochs", lambda epochs: (1, epochs))
    asked = {"normal": [0, 1, 2, 3, 4], "seed": 1, "settings": settings, "pruning": {}}
    numbers = measure(digits, asked).numbers
    seen = dict(numbers[BY_EPOCH])
    assert seen[2] == numbers[VALUE]
    assert seen[1] != seen[2]
    assert measure(digits, {**asked, "pruning": None}).numbers == {VALUE: numbers[VALUE], BY_EPOCH: []}
    bars = {"bars": {1: seen[1] + 1e-9, 2: 0.0}}
    assert measure(digits, {**asked, "pruning": bars}).numbers == {VALUE: None, BY_EPOCH: [(1, seen[1])]}
    bars["bars"][1] = seen[1]
    assert measure(digits, {**asked, "pruning": bars}).numbers == numbers


def test_a_training_is_hopeless_where_its_best_mean_is_below_the_bar():
    pruning = Pruning((0.9,), 0.8, {2: 0.75, 4: 0.95})
    assert not pruning.hopeless({1: 0.1})
    assert not pruning.hopeless({1: 0.1, 2: 0.1})
    assert pruning.hopeless({1: 0.1, 4: 0.1})
    assert not pruning.hopeless({1: 1.0, 4: 0.1})
    assert look_epochs(8) == (1, 2, 4)


def test_pruning_can_be_turned_off_and_is_said():
    words = ("tune", *TINY, "--epochs", "4", "--trials", "6", "--seeds", "0")
    result = ok(*words)
    pruned = re.findall(r"trial (\d) of 6: broken off at 0\.\d{4}  ", result.stderr)
    assert pruned
    assert f"6 trials, {len(pruned)} broken off" in result.stdout
    document = json.loads((FOLDER / "tuning.json").read_text())
    assert (document["pruned"], document["pruning"]) == (len(pruned), True)
    assert str(document["best"]) not in pruned
    document = parsed(*words, "--trials", "1", "--no-pruning", "--quiet", "--json")
    assert (document["trials"], document["pruning"]) == (1, False)


def test_a_trial_that_fails_counts_and_no_value_at_all_is_an_error(digits, tmp_path, judged_by):
    def fail(settings: dict[str, Any], seed: int) -> float:
        raise TrainingError("loss is not a number")

    tuning_ = search(digits, tmp_path)
    judged_by(fail)
    with pytest.raises(AnomalaeError, match="no trial gave a value: TrainingError: loss is not a number"):
        tuning_.run(1)
    judged_by(lambda settings, seed: 0.5)
    trials = tuning_.run(2)
    assert [trial.problem for trial in trials] == ["TrainingError: loss is not a number", ""]
    assert tuning_.document(trials)["failed"] == 1


def test_a_value_is_the_rule_of_the_study_and_sees_normal_images_only(digits, tmp_path):
    settings = {**FIXED, "latent_dim": 4}
    asked = {"normal": [0, 1, 2, 3, 4], "seed": 1, "settings": settings, "pruning": None}
    task = Problem(digits, (0, 1, 2, 3, 4), 1)
    detector = task.fit(settings)
    value = tuning.measure(digits, asked).numbers[VALUE]
    assert value == told_apart(detector.score, task.held_out, 1)[ALL]
    labels = digits.train.labels
    images = digits.train.images.copy()
    images[labels > 4] = 255 - images[labels > 4]
    other = make_dataset("other", Part(images, labels), digits.test, digits.classes, None, False)
    assert tuning.measure(other, asked).numbers[VALUE] == value


@pytest.mark.slow
def test_several_trials_at_once_are_as_good_as_one_after_another(tmp_path):
    words = ("tune", *TINY, "--trials", "3", "--seeds", "0", "--quiet", "--json")
    first = parsed(*words, "--jobs", "2", "--output", "two")
    assert (first["trials"], first["failed"]) == (3, 0)
    assert (
        first["default"]
        == parsed("tune", *TINY, "--trials", "1", "--seeds", "0", "--quiet", "--json")["value"]
    )


def test_two_searches_in_one_folder_are_refused():
    FOLDER.mkdir(parents=True)
    with lock(FOLDER):
        assert f"{FOLDER}: another search is at work here" in fails(1, "tune", *TINY, "--trials", "1")


def test_what_is_given_is_not_searched_and_other_settings_are_another_search(digits, tmp_path, monkeypatch):
    plain = Tuning(digits, (3,), tmp_path)
    assert plain.searched == ("latent_dim", "noise", "learning_rate", "views", "hidden", "score")
    assert Tuning(digits, (3,), tmp_path, {"model": "vae", "noise": 0.5}).searched == (
        *("latent_dim", "learning_rate", "views", "hidden"),
    )
    assert "hidden" not in Tuning(digits, (3,), tmp_path, {"architecture": "conv"}).searched
    names = {
        plain.name,
        Tuning(digits, (5,), tmp_path).name,
        Tuning(digits, (3,), tmp_path, {"noise": 0.5}).name,
        Tuning(digits, (3,), tmp_path, seeds=(0,)).name,
    }
    assert len(names) == 4
    assert plain.name == Tuning(digits, (3,), tmp_path).name
    for name, value in (
        ("WIDTH", (2, 128)),
        ("NOISE", (0.0, 1.0, 0.25)),
        ("RATE", (5e-4, 1e-2)),
        ("CHOICES", {**tuning.CHOICES, "hidden": ((512, 256),)}),
        ("UNPRUNED", 5),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(tuning, name, value)
            assert Tuning(digits, (3,), tmp_path).name not in names, name
    every = {**FIXED, "latent_dim": 4, "noise": 0.0, "learning_rate": 0.01}
    with pytest.raises(ValueError, match="all that a search could change are given"):
        Tuning(digits, (3,), tmp_path, every)


def test_all_that_is_searched_can_be(digits, tmp_path):
    """Every view with every score, and every choice."""
    for name, choices in tuning.CHOICES.items():
        for value in choices:
            Settings.of(**{name: value})
    for views in tuning.CHOICES["views"]:
        assert set(tuning.CHOICES["score"]) <= set(Settings.of(views=views).rules)
        Settings.of(model="vae", views=views)


def test_toml_is_read_back_as_it_was():
    values = {
        "normal": ['a "b"', "c\\d", "é \x7f \t 三 😀"],
        "noise": 0.25,
        "rate": 1e-05,
        "epochs": 3,
        "views": ["x"],
    }
    assert tomllib.loads(toml(values, ["one\nline", "é"])) == values


def test_of_equal_trials_the_first_wins():
    trials = [Trial(1, {}, None, pruned=True), Trial(2, {}, 0.5), Trial(3, {}, 0.5)]
    assert winner(trials).number == 2


def test_what_the_rule_is_worth_is_read_from_the_study(tmp_path):
    measured = worth(tmp_path)
    assert "10 problems made in full on MNIST" in measured
    folder = tmp_path / "selection"
    folder.mkdir()
    together = {"normal": TOGETHER, "problems": 5}
    rows = [
        {**together, "rule": SYNTHETIC, "spearman": 0.61, "lost": 0.0123},
        {**together, "rule": LOSS, "spearman": -0.2, "lost": 0.02},
        {"normal": "3", "rule": SYNTHETIC, "spearman": 0.1, "lost": 0.5, "problems": 1},
    ]
    table = {"rows": rows, "quick": False, "facts": {"data": "letters: a, b: 1,000 training images"}}
    (folder / "table.json").write_text(json.dumps(table))
    said = worth(tmp_path)
    assert f"5 problems on letters: a, b, in {folder}, its order" in said
    assert "Spearman correlation of 0.61, and its choice lost 0.0123 of ROC-AUC on average" in said
    assert "(those of the lowest error of held-out normals 0.0200). Anomalies" in said
    for weak in (
        "[]",
        "{}",
        "no",
        json.dumps({**table, "rows": rows[2:]}),
        json.dumps({**table, "quick": True}),
        json.dumps({**table, "facts": {"data": ""}}),
    ):
        (folder / "table.json").write_text(weak)
        assert worth(tmp_path) == measured


def test_what_the_rule_is_worth_is_what_the_kept_study_measured():
    kept = Path(__file__).parents[2] / "reports" / "studies"
    found, said = worth(kept), worth(Path("nowhere"))
    assert f"on mnist, in {kept / 'selection'}," in found
    assert re.findall(r"\d\.\d+", found) == re.findall(r"\d\.\d+", said)


def test_classes_may_have_names(digits, tmp_path, judged_by):
    judged_by(lambda settings, seed: 0.5)
    labels = np.where(digits.train.labels < 5, "low, é", "high")
    part = Part(digits.train.images, labels)
    named = make_dataset(
        str(tmp_path / "a folder"), part, part, ("high", "low, é"), None, False, preprocess="resize"
    )
    Tuning(named, ("low, é",), tmp_path / "out", FIXED).run(1)
    written = tomllib.loads((tmp_path / "out" / "winner.toml").read_text(encoding="utf-8"))
    assert written["normal"] == ["low, é"]
    assert written["dataset"] == str(tmp_path / "a folder")
    assert written["preprocess"] == "resize"
    assert "data-dir" not in written


def test_the_winner_says_where_the_data_were_found(digits, tmp_path, judged_by):
    judged_by(lambda settings, seed: 0.5)
    for root in (tmp_path / "my data", Path("data").absolute()):
        found = make_dataset("digits", digits.train, digits.test, digits.classes, str(root), True)
        Tuning(found, (0, 1, 2, 3, 4), tmp_path / root.name, FIXED).run(1)
        written = tomllib.loads((tmp_path / root.name / "winner.toml").read_text(encoding="utf-8"))
        assert written.get("data-dir") == (None if root.name == "data" else str(root))
        ok(
            "train",
            "--config",
            tmp_path / root.name / "winner.toml",
            "--quiet",
            "--name",
            root.name.replace(" ", "-"),
        )
