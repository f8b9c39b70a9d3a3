"""Settings found without anomalies: trials chosen by Optuna, each judged on anomalies made of held-out normals.

Optuna keeps the trials in a file, so that a search goes on where it was, and its dashboard shows them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from anomalae import files
from anomalae.datasets.dataset import Dataset
from anomalae.errors import AnomalaeError, BundleError, ConfigError
from anomalae.experiments.cells import Cell, Done, Result, Source, computed_by
from anomalae.experiments.executors import Executor, make_executor, run_twice
from anomalae.experiments.studies.choosing import ALWAYS, ANY, LOSS, SYNTHETIC
from anomalae.experiments.studies.selection import NAME, TOGETHER
from anomalae.experiments.studies.synthetic import ALL, told_apart
from anomalae.experiments.studies.trained import Problem, problem
from anomalae.ranges import Whole
from anomalae.runs.locks import lock
from anomalae.settings import Settings
from anomalae.text import plural, typed

STORAGE, WINNER, DOCUMENT = "trials.db", "winner.toml", "tuning.json"
MOST_TRIALS = 10_000
# Trials that are never broken off, for the others to be compared with.
UNPRUNED = 4
# Of fewer held-out images a ROC-AUC says little.
FEW = 50
# What is searched, of an autoencoder and of a density: the first value is the default's, where one is a choice.
WIDTH, NOISE, RATE = (2, 256), (0.0, 2.0, 0.25), (5e-4, 5e-3)
CHOICES: dict[str, tuple[Any, ...]] = {
    "views": (("settled",), ("pixels",), ("normalised",), ("edges",)),
    "hidden": ((512, 256), (256,), (128,), (1024, 512)),
    # Those that every view has.
    "score": ("bent", "mse", "smooth"),
}
PROBLEM, SETTINGS, SECONDS, VALUE = "problem", "settings", "seconds", "value"


@dataclass(frozen=True)
class Trial:
    """A trial is settings, and what the rule says of them.

    number: counted from 1.
    settings: those that are not at their default.
    value: mean ROC-AUC of held-out normals against synthetic anomalies over the seeds; None where it was broken off.
    pruned: whether it was broken off after a seed, because it was worse than half of the others.
    problem: why it failed, if it did.
    seconds: that it took.
    """

    number: int
    settings: dict[str, Any]
    value: float | None
    pruned: bool = False
    problem: str = ""
    seconds: float = 0.0


@dataclass(eq=False)
class _Asked:
    """A trial under way.

    trial: Optuna's.
    values: by each seed so far.
    """

    trial: Any
    settings: dict[str, Any]
    values: list[float] = field(default_factory=list)
    seconds: float = 0.0
    problem: str = ""
    pruned: bool = False

    @property
    def goes_on(self) -> bool:
        return not self.problem and not self.pruned

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))


def measure(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Train on normals, and tell held-out ones from anomalies made of them."""
    task = problem(dataset, arguments)
    detector = task.fit(arguments[SETTINGS])
    return Result({VALUE: told_apart(detector.score, task.held_out, task.seed)[ALL]})


@dataclass(frozen=True, eq=False)
class Tuning:
    """A search for settings of a one-class problem.

    dataset: whose normal training images are used, and no others.
    normal: normal classes.
    folder: where trials and winner are kept; made when the search begins.
    fixed: settings that all trials have.
    seeds: of splits, weights and synthetic anomalies, none twice; a trial's value is the mean over them.

    Raises ConfigError where Optuna is not installed, and for settings that cannot be.
    """

    dataset: Dataset
    normal: tuple[int | str, ...]
    folder: Path
    fixed: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1)

    def __post_init__(self) -> None:
        _optuna()
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds {list(self.seeds)}: must be at least one, none twice", setting="seeds")
        if not self.searched:
            raise ConfigError("settings: all that a search could change are given")
        Settings.of(**self.fixed)

    @property
    def searched(self) -> tuple[str, ...]:
        """Names of the settings that trials differ in."""
        settings = Settings.of(**self.fixed)
        names = ["latent_dim", "noise", "learning_rate", "views"]
        names += ["hidden"] if settings.architecture == "dense" else []
        names += ["score"] if settings.model == "ae" else []
        return tuple(name for name in names if name not in self.fixed)

    @property
    def name(self) -> str:
        """By which Optuna keeps the trials: other data, classes, seeds, settings or code make another search."""
        fixed = Settings.of(**self.fixed).to_dict()
        spec = {
            "data": self.dataset.provenance["sha256"],
            "normal": [str(name) for name in self.normal],
            "fixed": fixed,
            "searched": self.searched,
            "seeds": self.seeds,
            **computed_by(measure, fixed),
        }
        digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
        classes = ",".join(str(name) for name in self.normal)[:40]
        return f"{self.dataset.short_name} {classes} {digest[:8]}"

    def run(
        self,
        trials: int,
        on_trial: Callable[[Trial], None] = lambda trial: None,
        executor: Executor | None = None,
    ) -> list[Trial]:
        """Do trials until there are so many, those of an earlier call among them, and write the winner.

        trials: in all, at least 1; the first has the default settings.
        on_trial: called when one is done.
        executor: who does them, as many at once as it has jobs; None does one after another in this process.

        A search that was broken off and goes on makes the same trials as one that was not, if it has as many jobs.

        Returns all trials in their order. Raises BundleError where the folder cannot be used, TrainingError where no
        trial gave a value.
        """
        Whole(1, MOST_TRIALS).check("trials", trials)
        optuna, executor = _optuna(), executor or make_executor()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BundleError(f"{self.folder}: cannot be written: {error.strerror}") from None
        with lock(self.folder, "another search is at work here"), _quiet(optuna):
            study = self._study(optuna)
            while len(done := _counted(study)) < trials:
                # As many as fill a batch that was told in part.
                size = min(executor.jobs - len(done) % executor.jobs, trials - len(done))
                self._batch(optuna, study, len(done), size, executor)
                for trial in self._told(study)[len(done) :]:
                    on_trial(trial)
            every = self._told(study)
        self._write(every)
        return every

    def _study(self, optuna: Any) -> Any:
        """Open the file of trials, or begin it."""
        path = (self.folder / STORAGE).absolute()
        try:
            # By a connection of our own: a URL has no room for every path.
            storage = optuna.storages.RDBStorage(
                "sqlite:///trials.db", engine_kwargs={"creator": lambda: sqlite3.connect(path, timeout=60)}
            )
            study = optuna.create_study(
                study_name=self.name,
                storage=storage,
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED, n_warmup_steps=0),
            )
        except Exception as error:
            what = " ".join(str(error).split())[:120]
            raise BundleError(f"{path}: not usable as a file of trials: {what}") from None
        states = optuna.trial.TrialState
        for stale in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            study.tell(stale.number, state=states.FAIL)
        if not _counted(study) and not study.get_trials(deepcopy=False, states=(states.WAITING,)):
            study.enqueue_trial(self._default())
        return study

    def _default(self) -> dict[str, Any]:
        settings = Settings.of(**self.fixed)
        values = {name: getattr(settings, name) for name in self.searched}
        return {name: typed(value) if name in CHOICES else value for name, value in values.items()}

    def _suggested(self, trial: Any) -> dict[str, Any]:
        """Settings of a trial, as Optuna suggests them; choices are told to it as they are typed."""
        values: dict[str, Any] = {}
        for name in self.searched:
            if name in CHOICES:
                default = getattr(Settings.of(**self.fixed), name)
                known = {typed(value): value for value in (*CHOICES[name], default)}
                values[name] = known[trial.suggest_categorical(name, list(known))]
            elif name == "latent_dim":
                values[name] = trial.suggest_int(name, *WIDTH, log=True)
            elif name == "noise":
                values[name] = trial.suggest_float(name, *NOISE[:2], step=NOISE[2])
            else:
                # Digits that nobody needs are left out.
                values[name] = float(f"{trial.suggest_float(name, *RATE, log=True):.3g}")
        return values

    def _batch(self, optuna: Any, study: Any, before: int, size: int, executor: Executor) -> None:
        """Do so many trials, asked for together and told in their order; `before` them there were as many."""
        state, batch = optuna.trial.TrialState, []
        for number in range(before, before + size):
            # A sampler a trial: it goes on as if it had never been broken off.
            drawn = np.random.SeedSequence([self.seeds[0], number]).generate_state(1)[0]
            study.sampler = optuna.samplers.TPESampler(seed=int(drawn), constant_liar=size > 1)
            trial = study.ask()
            settings = {**self.fixed, **self._suggested(trial)}
            trial.set_user_attr(SETTINGS, json.loads(json.dumps(settings)))
            batch.append(_Asked(trial, settings))
        try:
            for step, seed in enumerate(self.seeds):
                under_way = [asked for asked in batch if asked.goes_on]
                for asked, done in zip(under_way, self._done(under_way, seed, executor), strict=True):
                    asked.seconds += done.seconds
                    if done.result is None:
                        asked.problem = done.problem
                        continue
                    asked.values.append(done.result.numbers[VALUE])
                    asked.trial.report(asked.mean, step)
                    asked.pruned = step + 1 < len(self.seeds) and asked.trial.should_prune()
            for asked in batch:
                asked.trial.set_user_attr(SECONDS, round(asked.seconds, 3))
                if asked.problem:
                    asked.trial.set_user_attr(PROBLEM, asked.problem)
                    study.tell(asked.trial, state=state.FAIL)
                elif asked.pruned:
                    study.tell(asked.trial, state=state.PRUNED)
                else:
                    study.tell(asked.trial, asked.mean)
        except BaseException:
            # Those that are not told yet are asked for anew.
            for asked in batch:
                with contextlib.suppress(ValueError):
                    study.tell(asked.trial, state=state.FAIL)
            raise

    def _done(self, batch: Sequence[_Asked], seed: int, executor: Executor) -> list[Done]:
        """Do a batch by one seed."""
        source = Source.of(self.dataset)
        arguments = [{"normal": list(self.normal), "seed": seed, SETTINGS: asked.settings} for asked in batch]
        cells = [Cell(measure, each, source) for each in arguments]
        done = run_twice(executor, cells, lambda index: None, lambda index: None)
        return sorted(done, key=lambda one: one.index)

    def _told(self, study: Any) -> list[Trial]:
        made = []
        for number, trial in enumerate(_counted(study), 1):
            told = trial.user_attrs
            value = trial.value if trial.state.name == "COMPLETE" else None
            made.append(
                Trial(
                    number,
                    dict(told.get(SETTINGS, {})),
                    value,
                    trial.state.name == "PRUNED",
                    told.get(PROBLEM, ""),
                    told.get(SECONDS, 0.0),
                )
            )
        return made

    @property
    def n_held_out(self) -> int:
        """Number of held-out normals by which a trial is judged."""
        return len(Problem(self.dataset, self.normal, self.seeds[0]).held_out)

    def _write(self, trials: Sequence[Trial]) -> None:
        best = winner(trials)
        values: dict[str, Any] = {"dataset": self.dataset.name}
        provenance = self.dataset.provenance
        values |= {
            key: provenance[key]
            for key in ("preprocess", "polarity")
            if provenance.get(key, "auto") != "auto"
        }
        values["normal"] = [str(name) for name in self.normal]
        values |= {name.replace("_", "-"): value for name, value in best.settings.items()}
        head = (
            f"Trial {best.number} of {len(trials)}: ROC-AUC {best.value:.4f} of held-out normals against synthetic "
            "anomalies.",
            f"Search: {self.name}, in {STORAGE}.",
        )
        self._put_aside()
        files.write_bytes(self.folder / WINNER, toml(values, head).encode("utf-8", "backslashreplace"))
        files.write_json(self.folder / DOCUMENT, self.document(trials))

    def _put_aside(self) -> None:
        """Give the winner of another search in this folder a name of its own, that of its search."""
        if not (self.folder / DOCUMENT).is_file() or not (self.folder / WINNER).is_file():
            return
        before = files.read_json(self.folder / DOCUMENT)
        search = before.get("search") if isinstance(before, dict) else None
        if not isinstance(search, str) or search == self.name:
            return
        which = files.file_name(search.split()[-1])
        for name in (WINNER, DOCUMENT):
            path = self.folder / name
            path.replace(path.with_stem(f"{path.stem}-{which}"))

    def document(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """Return what a search found, JSON-able: `trials` and the best of them."""
        best = winner(trials)
        return {
            "search": self.name,
            "dataset": self.dataset.name,
            "normal": list(self.normal),
            "seeds": list(self.seeds),
            "searched": list(self.searched),
            "held_out": self.n_held_out,
            "trials": len(trials),
            "pruned": sum(trial.pruned for trial in trials),
            "failed": sum(bool(trial.problem) for trial in trials),
            "best": best.number,
            "value": best.value,
            "default": trials[0].value,
            "settings": best.settings,
            "winner": str(self.folder / WINNER),
            "storage": str(self.folder / STORAGE),
        }


def winner(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the highest value, the first of several. AnomalaeError where none of `trials` has one."""
    rated = [trial for trial in trials if trial.value is not None]
    if not rated:
        problems = [trial.problem for trial in trials if trial.problem]
        raise AnomalaeError(f"no trial gave a value: {problems[0] if problems else 'all were broken off'}")
    return max(rated, key=lambda trial: trial.value or 0.0)


def toml(values: Mapping[str, Any], comments: Sequence[str] = ()) -> str:
    """Return TOML of numbers, texts and lists of these, after lines of comment.

    >>> print(toml({"latent-dim": 8, "noise": 0.5, "views": ["pixels"]}, ["Found."]), end="")
    # Found.
    latent-dim = 8
    noise = 0.5
    views = ["pixels"]
    """
    lines = [f"# {' '.join(comment.split())}" for comment in comments]
    lines += [f"{key} = {_toml_value(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml_value, value))}]"
    # What JSON escapes TOML does alike, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


# Of the full study on MNIST, as in `reports/studies/selection/table.json`.
MEASURED: dict[str, Any] = {
    "problems": 10,
    "spearman": 0.47,
    "lost": {SYNTHETIC: 0.0064, ANY: 0.0144, LOSS: 0.0022, ALWAYS: 0.0007},
}


def worth(reports: Path) -> str:
    """Say what the rule is worth, by the full study of it where its table is among the reports, else by that on MNIST.

    reports: folder that holds a folder a study; a quick one's table says too little.
    """
    where, found = f"made in full on MNIST, seed 0 (study {NAME!r})", MEASURED
    with contextlib.suppress(BundleError, KeyError, TypeError, ValueError, AttributeError):
        table = files.read_json(reports / NAME / "table.json")
        rows = {row["rule"]: row for row in table["rows"] if row["normal"] == TOGETHER}
        own = {
            "problems": int(rows[SYNTHETIC]["problems"]),
            "spearman": float(rows[SYNTHETIC]["spearman"]),
            "lost": {rule: float(row["lost"]) for rule, row in rows.items() if rule in MEASURED["lost"]},
        }
        if not table["quick"]:
            where, found = f"in {reports / NAME}", own
    others = (
        (ANY, "settings drawn at random"),
        (LOSS, "those of the lowest error of held-out normals"),
        (ALWAYS, "always the default"),
    )
    lost = found["lost"]
    compared = ", ".join(f"{words} {lost[rule]:.4f}" for rule, words in others if rule in lost)
    return (
        f"What the rule is worth: in the study of {plural(found['problems'], 'problem')} {where} its order of settings "
        f"and the true one had a Spearman correlation of {found['spearman']:.2f}, and its choice lost "
        f"{lost[SYNTHETIC]:.4f} of ROC-AUC on average{f' ({compared})' if compared else ''}. Anomalies made of normal "
        "images are not those that will come."
    )


def _counted(study: Any) -> list[Any]:
    """Trials that count: those with a value, those broken off for being worse, and those that failed by themselves."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state.name in ("COMPLETE", "PRUNED") or PROBLEM in trial.user_attrs
    ]


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ConfigError("optuna is not installed: pip install 'anomalae[tune]'") from None
    return optuna


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Let Optuna log warnings only, as long as the context lasts."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


__all__ = ["Trial", "Tuning", "toml", "winner", "worth"]
