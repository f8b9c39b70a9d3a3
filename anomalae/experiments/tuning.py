"""Settings found without anomalies: trials chosen by Optuna, each judged on anomalies made of held-out normals.

Optuna keeps the trials in a file, so that a search goes on where it was, and its dashboard shows them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from anomalae import files
from anomalae.datasets.dataset import Dataset
from anomalae.datasets.load import DATASETS
from anomalae.errors import BundleError, ConfigError
from anomalae.experiments.cells import Cell, Done, Source
from anomalae.experiments.executors import Executor, make_executor, run_twice
from anomalae.experiments.revision import computed_by
from anomalae.experiments.studies.trained import Problem
from anomalae.experiments.trials import BY_EPOCH, PRUNING, SETTINGS, VALUE, Pruning, Trial, measure, winner
from anomalae.ranges import Whole
from anomalae.runs.locks import lock
from anomalae.settings import Settings
from anomalae.text import toml, typed

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
PROBLEM, SECONDS = "problem", "seconds"


@dataclass(eq=False)
class _Asked:
    """A trial under way.

    trial: Optuna's.
    epochs: of each of its trainings.
    values: by each seed so far.
    best: highest of the mean values that Optuna was told of.
    """

    trial: Any
    settings: dict[str, Any]
    epochs: int
    values: list[float] = field(default_factory=list)
    best: float = 0.0
    seconds: float = 0.0
    problem: str = ""
    pruned: bool = False

    @property
    def goes_on(self) -> bool:
        return not self.problem and not self.pruned

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    def report(self, place: int, epoch: int, value: float) -> None:
        """Tell Optuna of the mean value after an epoch of the training by the seed of this place."""
        mean = float(np.mean([*self.values, value]))
        self.trial.report(mean, place * self.epochs + epoch)
        self.best = max(self.best, mean)


@dataclass(frozen=True, eq=False)
class Tuning:
    """A search for settings of a one-class problem.

    dataset: whose normal training images are used, and no others.
    normal: normal classes.
    folder: where trials and winner are kept; made when the search begins.
    fixed: settings that all trials have.
    seeds: of splits, weights and synthetic anomalies, none twice; a trial's value is the mean over them.
    prune: break off a trial, in a training or after a seed, that is worse than half of those that were not.

    Raises ConfigError where Optuna is not installed, and for settings that cannot be.
    """

    dataset: Dataset
    normal: tuple[int | str, ...]
    folder: Path
    fixed: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1)
    prune: bool = True

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
        """By which Optuna keeps the trials: other data, classes, seeds, settings, values searched, or code: another."""
        fixed = Settings.of(**self.fixed).to_dict()
        spec = {
            "data": self.dataset.provenance["sha256"],
            "normal": [str(name) for name in self.normal],
            "fixed": fixed,
            "searched": self.searched,
            "seeds": self.seeds,
            "prune": self.prune,
            "space": [WIDTH, NOISE, RATE, CHOICES, UNPRUNED],
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
                pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED, n_warmup_steps=0)
                if self.prune
                else optuna.pruners.NopPruner(),
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
            batch.append(_Asked(trial, settings, self._epochs(settings)))
        try:
            for place, seed in enumerate(self.seeds):
                under_way = [asked for asked in batch if asked.goes_on]
                cells = [self._cell(study, asked, place, seed) for asked in under_way]
                for asked, done in zip(under_way, _in_order(cells, executor), strict=True):
                    asked.seconds += done.seconds
                    if done.result is None:
                        asked.problem = done.problem
                        continue
                    value = done.result.numbers[VALUE]
                    for epoch, then in done.result.numbers[BY_EPOCH]:
                        asked.report(place, epoch, then)
                    if value is not None:
                        asked.report(place, asked.epochs, value)
                        asked.values.append(value)
                    last = place + 1 == len(self.seeds)
                    asked.pruned = value is None or (not last and asked.trial.should_prune())
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

    def _epochs(self, settings: Mapping[str, Any]) -> int:
        """Epochs of a training."""
        n = len(Problem(self.dataset, self.normal, self.seeds[0]).train)
        return Settings.of(**settings).schedule(n).epochs

    def _cell(self, study: Any, asked: _Asked, place: int, seed: int) -> Cell:
        """A trial's training by the seed of this place."""
        arguments = {"normal": list(self.normal), "seed": seed, SETTINGS: asked.settings, PRUNING: None}
        if self.prune:
            before = place * asked.epochs
            bars = {step - before: bar for step, bar in _bars(study).items() if step > before}
            arguments[PRUNING] = asdict(Pruning(tuple(asked.values), asked.best, bars))
        return Cell(measure, arguments, Source.of(self.dataset))

    def _told(self, study: Any) -> list[Trial]:
        made = []
        for number, trial in enumerate(_counted(study), 1):
            told = trial.user_attrs
            value = trial.value if trial.state.name == "COMPLETE" else None
            pruned, reached = trial.state.name == "PRUNED", trial.intermediate_values
            made.append(
                Trial(
                    number,
                    dict(told.get(SETTINGS, {})),
                    value,
                    pruned,
                    reached[max(reached)] if pruned and reached else None,
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
        root = provenance.get("root")
        if self.dataset.name in DATASETS and root is not None and Path(root) != Path("data").absolute():
            # Else it would be looked for where it is not.
            values["data-dir"] = root
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
            "pruning": self.prune,
            "searched": list(self.searched),
            "held_out": self.n_held_out,
            "trials": len(trials),
            "pruned": sum(trial.pruned for trial in trials),
            "failed": sum(bool(trial.problem) for trial in trials),
            "seconds": round(sum(trial.seconds for trial in trials), 3),
            "best": best.number,
            "value": best.value,
            "default": trials[0].value,
            "settings": best.settings,
            "winner": str(self.folder / WINNER),
            "storage": str(self.folder / STORAGE),
        }


def _counted(study: Any) -> list[Any]:
    """Trials that count: those with a value, those broken off for being worse, and those that failed by themselves."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state.name in ("COMPLETE", "PRUNED") or PROBLEM in trial.user_attrs
    ]


def _in_order(cells: Sequence[Cell], executor: Executor) -> list[Done]:
    """Do cells, and return how each ended."""
    done = run_twice(executor, cells, lambda index: None, lambda index: None)
    return sorted(done, key=lambda one: one.index)


def _bars(study: Any) -> dict[int, float]:
    """By step, the median of the trials that have a value, which the best value of a trial so far must reach.

    It is what Optuna's pruner goes by, for a training that is done where there is no Optuna.
    """
    values: dict[int, list[float]] = {}
    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    if len(complete) < UNPRUNED:
        return {}
    for trial in complete:
        for step, value in trial.intermediate_values.items():
            values.setdefault(step, []).append(value)
    return {step: float(np.percentile(some, 50)) for step, some in values.items()}


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


__all__ = ["Tuning"]
