"""What does each part of a detector give? One change at a time to the default, and from textbook to accurate."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from anomalae import plots, text
from anomalae.datasets.dataset import Dataset
from anomalae.experiments.cells import Cell, Result
from anomalae.experiments.kept_cells import Outcome
from anomalae.experiments.studies.base import Column, Drawing, Row, Scope, Study, deviation, finished, mean
from anomalae.experiments.studies.recipes import described_problems, normal_classes
from anomalae.experiments.studies.trained import problem
from anomalae.settings import PRESETS, Settings

NAME = "ablation"
NORMAL = (2, 5, 8, 9)
# On MNIST a digit and seed take some 370 CPU seconds: 7 to 10 a network of the default's size, 52 of conv layers, and 1
# to 4 to score 10,000 images. With 4 digits and 2 seeds about 50 minutes.
SEEDS, QUICK_SEEDS = (0, 1), (0, 1, 2, 3)
# Layers, of which others are half and twice as wide.
HIDDEN, QUICK_HIDDEN = (512, 256), (64,)
# So few epochs of so few images want larger steps.
QUICK_SCHEDULE = {"epochs": 10, "learning_rate": 0.015}
# What a quick study leaves out.
FULL_ONLY = (
    "normalised",
    "deskewed",
    "edges",
    "settled + edges",
    "normalised + edges",
    "settled + pixels + edges",
    "half the noise",
    "2 passes",
    "code of 4",
    "layers half as wide",
    "layers twice as wide",
    "conv layers",
    "twice the epochs",
    "1 neighbour",
    "8 neighbours, sums",
    "8, settled + edges",
)
# Images by which scoring is timed, and for how many the table tells the time.
TIMED, SCORED = 2000, 10_000
DEFAULT = "default"
# What the nearest training images score by themselves, beside the rules of a detector with neighbours.
ALONE = "neighbours alone"
# Whether a change takes a part of the default away, adds a part to it, or puts another in its place.
WITHOUT, MORE, OTHER = "without", "more", "other"


@dataclass(frozen=True)
class Change:
    """A row of the table: a trained detector, and the score by which it judges.

    group: of changes of the same part.
    name: of the change, by itself.
    network: the name of what is trained, in `trained_settings`.
    rule: the score; None is the detector's own.
    role: WITHOUT, MORE or OTHER.
    part: what the default or the change has by it, where it is WITHOUT or MORE.
    """

    group: str
    name: str
    network: str
    rule: str | None = None
    role: str = OTHER
    part: str = ""


CHANGES = (
    Change(DEFAULT, "the default", DEFAULT),
    Change("view", "pixels", "pixels", role=WITHOUT, part="the settled view (instead of pixels)"),
    *(Change("view", view, view) for view in ("normalised", "deskewed", "edges")),
    Change("views", "settled + pixels", "settled + pixels", role=MORE, part="pixels as a second view"),
    Change("views", "settled + edges", "settled + edges", role=MORE, part="edges as a second view"),
    Change("views", "normalised + edges", "normalised + edges"),
    Change("views", "settled + pixels + edges", "settled + pixels + edges", role=MORE, part="two more views"),
    Change("score", "mse", DEFAULT, "mse", WITHOUT, "the score bent (instead of mse)"),
    *(Change("score", rule, DEFAULT, rule) for rule in ("relative", "smooth", "worst-place", "sap", "nap")),
    Change("noise", "no noise", "no noise", role=WITHOUT, part="noise in training"),
    Change("noise", "half the noise", "half the noise"),
    Change("passes", "2 passes", "2 passes", role=MORE, part="a second pass"),
    Change("width", "code of 4", "code of 4"),
    Change("width", "code of 64", "code of 64", role=MORE, part="a code of 64"),
    Change("width", "layers half as wide", "layers half as wide"),
    Change("width", "layers twice as wide", "layers twice as wide", role=MORE, part="layers twice as wide"),
    Change("width", "conv layers", "conv layers"),
    Change("epochs", "half the epochs", "half the epochs"),
    Change("epochs", "twice the epochs", "twice the epochs", role=MORE, part="twice the epochs"),
    Change("members", "3 members", "3 members", role=MORE, part="3 members"),
    Change("neighbours", "1 neighbour", "1 neighbour", role=MORE, part="1 neighbour"),
    Change("neighbours", "accurate: 8 neighbours", "accurate", role=MORE, part="8 neighbours"),
    Change("neighbours", "8 neighbours alone", "accurate", ALONE),
    Change("neighbours", "8 neighbours, sums", "8 neighbours, sums"),
    Change("neighbours", "8, settled + edges", "8, settled + edges", role=MORE, part="8 neighbours and edges"),
)  # fmt: skip
# From the textbook's autoencoder to the best preset, a part at a time.
STEPS = (
    Change("step", "textbook", "textbook"),
    Change("step", "+ settled view", "no noise", "mse"),
    Change("step", "+ noise", DEFAULT, "mse"),
    Change("step", "+ score bent = default", DEFAULT),
    Change("step", "+ 8 neighbours = accurate", "accurate"),
)


def trained_settings(quick: bool) -> dict[str, tuple[dict[str, Any], float]]:
    """Return what is trained, by name: settings, and how many times as many epochs as usual."""
    hidden = QUICK_HIDDEN if quick else HIDDEN
    views = ("pixels", "normalised", "deskewed", "edges", "settled + pixels", "settled + edges",
             "normalised + edges", "settled + pixels + edges")  # fmt: skip
    changes: dict[str, dict[str, Any]] = {
        DEFAULT: {},
        **{name: {"views": tuple(name.split(" + "))} for name in views},
        "no noise": {"noise": 0.0},
        "half the noise": {"noise": 0.5},
        "2 passes": {"passes": 2},
        "code of 4": {"latent_dim": 4},
        "code of 64": {"latent_dim": 64},
        "layers half as wide": {"hidden": tuple(width // 2 for width in hidden)},
        "layers twice as wide": {"hidden": tuple(width * 2 for width in hidden)},
        "conv layers": {"architecture": "conv"},
        "half the epochs": {},
        "twice the epochs": {},
        "3 members": {"members": 3},
        "1 neighbour": {"neighbours": 1},
        "accurate": PRESETS["accurate"],
        "8 neighbours, sums": {"neighbours": 8, "distance": "sum"},
        "8, settled + edges": {"neighbours": 8, "views": ("settled", "edges")},
        "textbook": PRESETS["textbook"],
    }
    times = {"half the epochs": 0.5, "twice the epochs": 2.0}
    made = {}
    for name, change in changes.items():
        # Layers of conv are channels.
        base: dict[str, Any] = {} if "architecture" in change else {"hidden": hidden}
        base |= QUICK_SCHEDULE if quick else {}
        if not (quick and name in FULL_ONLY):
            made[name] = ({**base, **change}, times.get(name, 1.0))
    return made


def measure(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Train one detector, judge it by every score, and time training and the scores that are asked for."""
    task = problem(dataset, arguments)
    asked = dict(arguments["settings"])
    usual = Settings.of(**asked).schedule(len(task.train)).epochs
    asked["epochs"] = max(1, round(arguments["times_epochs"] * usual))
    detector, seconds = task.fit_timed(asked)
    own = detector.settings.rule
    images = task.judged.images
    by_member = detector.score_members(images)
    scores = detector.combine(by_member)
    if "neighbours" in by_member[own]:
        scores[ALONE] = by_member[own]["neighbours"]
    scoring = {}
    for rule in dict.fromkeys([own, *arguments["rules"]]):
        begun = time.thread_time()
        detector.score(images[:TIMED], rule)
        scoring[rule] = (time.thread_time() - begun) * SCORED / len(images[:TIMED])
    numbers = {
        "own": own,
        "roc_auc": {rule: float(roc_auc_score(task.is_anomaly, some)) for rule, some in scores.items()},
        "cpu_seconds": seconds,
        "scoring_seconds": scoring,
        "epochs": asked["epochs"],
    }
    return Result(numbers)


def cells(scope: Scope) -> list[Cell]:
    """Every detector of the table, on each problem and seed; all share split and seed with the default beside them."""
    made = []
    for normal in normal_classes(scope.dataset, NORMAL, scope.quick):
        for seed in QUICK_SEEDS if scope.quick else SEEDS:
            for name, (settings, times) in trained_settings(scope.quick).items():
                judged = [change.rule for change in (*CHANGES, *STEPS) if change.network == name]
                rules = sorted({rule for rule in judged if rule and rule != ALONE})
                made.append(
                    scope.cell(
                        measure,
                        network=name,
                        normal=normal,
                        seed=seed,
                        settings=settings,
                        times_epochs=times,
                        rules=rules,
                    )
                )
    return made


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row a change: mean ROC-AUC, and what it differs by from the default of the same class and seed."""
    trained: dict[str, dict[str, Mapping[str, Any]]] = {}
    for asked, numbers in finished(outcomes):
        trained.setdefault(asked["network"], {})[str((asked["normal"], asked["seed"]))] = numbers
    there = [change for change in (*CHANGES, *STEPS) if change.network in trained]
    default = _values(trained, CHANGES[0])
    made = []
    for change in there:
        values = _values(trained, change)
        of_own = [(numbers, change.rule or numbers["own"]) for numbers in trained[change.network].values()]
        row: Row = {
            "group": change.group,
            "change": change.name,
            "role": change.role,
            "part": change.part,
            "trainings": len(values),
            "roc_auc": mean(list(values.values())),
            **_difference(values, {} if change == CHANGES[0] else default, "difference"),
            # Of neighbours by themselves no network is trained or asked.
            "training_seconds": None
            if change.rule == ALONE
            else _median([numbers["cpu_seconds"] for numbers, _ in of_own]),
            "scoring_seconds": _median([numbers["scoring_seconds"].get(rule) for numbers, rule in of_own]),
        }
        before = STEPS[STEPS.index(change) - 1] if change in STEPS[1:] else None
        row |= _difference(values, _values(trained, before), "over_last")
        # What the network adds to its neighbours.
        if change.rule == ALONE:
            row |= _difference(_values(trained, _of_network("accurate")), values, "network")
        made.append(row)
    return made


def _of_network(network: str) -> Change:
    return next(change for change in CHANGES if change.network == network)


def _values(
    trained: Mapping[str, Mapping[str, Mapping[str, Any]]], change: Change | None
) -> dict[str, float]:
    """ROC-AUC by class and seed; empty of no change."""
    if change is None:
        return {}
    found = {
        place: numbers["roc_auc"].get(change.rule or numbers["own"])
        for place, numbers in trained.get(change.network, {}).items()
    }
    return {place: value for place, value in found.items() if value is not None}


def _difference(values: Mapping[str, float], others: Mapping[str, float], name: str) -> Row:
    """The mean difference of pairs, their standard deviation, and half of the mean's 95% interval by Student's t."""
    pairs = [value - others[place] for place, value in values.items() if place in others]
    sd = deviation(pairs)
    margin = None if sd is None else float(student.isf(0.025, len(pairs) - 1)) * sd / math.sqrt(len(pairs))
    return {name: mean(pairs), f"{name}_sd": sd, f"{name}_margin": margin}


def _median(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.median(there)) if there else None


COLUMNS = (
    Column("group", "part"),
    Column("change", "change"),
    Column("roc_auc", "ROC-AUC", 4),
    Column("difference", "difference from the default", 4),
    Column("difference_margin", "± (95%)", 4),
    Column("difference_sd", "sd of the difference", 4),
    Column("training_seconds", "CPU s, training", 1),
    Column("scoring_seconds", "CPU s, scoring 10,000", 2),
)


def answer(table: Sequence[Row]) -> tuple[str, ...]:
    """Say which part gives most, which gives nothing beyond luck, what costs most, and what leads to the best."""
    changes = [
        row for row in table if row["group"] not in (DEFAULT, "step") and row["difference"] is not None
    ]
    default = next((row for row in table if row["group"] == DEFAULT and row["roc_auc"] is not None), None)
    if default is None or not changes:
        return ()
    parts = sorted((row for row in changes if row["part"]), key=gives, reverse=True)
    said = [_most(parts)] if parts else []
    said += _luck(changes)
    said += _cost(parts, default)
    steps = [row for row in table if row["group"] == "step" and row["roc_auc"] is not None]
    said += _way(steps)
    said += _neighbours(table, default)
    return tuple(said)


def gives(row: Row) -> float:
    """Return what a part gives: what is lost without it, or gained with it."""
    return float(-row["difference"] if row["role"] == WITHOUT else row["difference"])


def is_luck(row: Row, name: str = "difference") -> bool | None:
    """Tell whether the 95% interval of a difference holds 0; None of a single training."""
    margin = row[f"{name}_margin"]
    return None if margin is None else bool(abs(row[name]) <= margin)


def _with_margin(value: float, margin: float | None) -> str:
    """A difference and half its interval: `+0.0012 ± 0.0004`."""
    return f"{value:+.4f}" if margin is None else f"{value:+.4f} ± {margin:.4f}"


def _given(row: Row) -> str:
    return _with_margin(gives(row), row["difference_margin"])


def _most(parts: Sequence[Row]) -> str:
    """Which parts give most, and which do harm."""
    sure = [row for row in parts if gives(row) > 0 and is_luck(row) is False]
    harm = [f"{row['part']} ({_given(row)})" for row in parts if gives(row) < 0 and is_luck(row) is False]
    worse = f" Worse with it than without: {text.sentence(harm)}." if harm else ""
    once = [row for row in parts if is_luck(row) is None]
    if len(once) == len(parts):
        return (
            "What each part gives is not known, as each was changed in one pair of trainings alone; the highest "
            f"difference has {parts[0]['part']}, {_given(parts[0])} of ROC-AUC."
        )
    if once:
        unknown = text.sentence([f"{row['part']} ({_given(row)})" for row in once])
        worse += f" Not known, as there is one pair of trainings alone: {unknown}."
    if not sure:
        parts = [row for row in parts if row not in once]
        best = parts[0]
        how = "beyond luck" if gives(best) > 0 else "at all"
        return f"No part gives anything {how}: the best is {best['part']}, {_given(best)} of ROC-AUC.{worse}"
    first, *rest = sure
    after = [f"{row['part']} {_given(row)}" for row in rest[:4]]
    others = (
        f"then come{'s' if len(after) == 1 else ''} {text.sentence(after)}"
        if after
        else "no other part gives anything beyond luck"
    )
    how = "lost without it" if first["role"] == WITHOUT else "gained with it"
    return f"Most gives {first['part']}: {_given(first)} of ROC-AUC, {how}; {others}.{worse}"


def _luck(changes: Sequence[Row]) -> list[str]:
    """Which changes make no difference beyond luck."""
    known = [row for row in changes if is_luck(row) is not None]
    if not known:
        return ["Each was trained once, so what of a difference is luck is not known."]
    within = [row for row in known if is_luck(row)]
    if not within:
        return [f"All {text.plural(len(known), 'change')} make a difference beyond luck."]
    named = text.sentence([f"{_called(row)} ({row['difference']:+.4f})" for row in within])
    return [
        f"{len(within)} of {text.plural(len(known), 'change')} "
        f"make{'s' if len(within) == 1 else ''} no difference beyond luck, as the 95% interval of the paired "
        f"difference holds 0: {named}."
    ]


def _called(row: Row) -> str:
    """A change by a name that stands alone."""
    of_group = row["group"] in ("view", "views", "score")
    return f"{row['group']} {row['change']}" if of_group else str(row["change"])


def _seconds(row: Row) -> float | None:
    """CPU seconds to train, and to score 10,000 images."""
    if row["training_seconds"] is None or row["scoring_seconds"] is None:
        return None
    return float(row["training_seconds"] + row["scoring_seconds"])


def _cost(parts: Sequence[Row], default: Row) -> list[str]:
    """Which addition costs most for what it gives: one that gives nothing, the dearest; else by seconds a gain."""
    usual = _seconds(default)
    more = [(row, _seconds(row)) for row in parts if row["role"] == MORE]
    extra = [(row, taken - usual) for row, taken in more if taken is not None and usual is not None]
    dear = [(row, seconds) for row, seconds in extra if seconds > 0]
    if not dear or not usual:
        return []
    useless = [(row, seconds) for row, seconds in dear if gives(row) <= 0 or is_luck(row)]
    row, seconds = max(
        useless or dear, key=lambda pair: pair[1] if useless else pair[1] / max(gives(pair[0]), 1e-12)
    )
    nothing = "gains nothing" if gives(row) <= 0 else "gains nothing beyond luck"
    verdict = nothing if useless else "gains" if is_luck(row) is False else "gains, by luck or not"
    return [
        f"Costliest for what it gives is {row['part']}: {(usual + seconds) / usual:.1f} times the default's CPU time "
        f"to train and score 10,000 images ({usual + seconds:.1f} s for {usual:.1f} s), and it {verdict} "
        f"({_given(row)})."
    ]


def _way(steps: Sequence[Row]) -> list[str]:
    """From the textbook to the best, a step at a time."""
    if len(steps) < len(STEPS):
        return []
    first, last = steps[0], steps[-1]
    taken = [
        f"{row['change'].removeprefix('+ ').partition(' = ')[0]} "
        f"{_with_margin(row['over_last'], row['over_last_margin'])}"
        for row in steps[1:]
        if row["over_last"] is not None
    ]
    if not taken:
        return []
    return [
        f"From the textbook's autoencoder ({first['roc_auc']:.4f}) to the accurate preset ({last['roc_auc']:.4f}), one "
        f"after another: {text.sentence(taken)}."
    ]


def _neighbours(table: Sequence[Row], default: Row) -> list[str]:
    """How far the default is from the accurate preset, and whether neighbours need a network."""
    by_name = {row["change"]: row for row in table}
    accurate = by_name.get(_of_network("accurate").name)
    alone = by_name.get("8 neighbours alone")
    if accurate is None or accurate["difference"] is None:
        return []
    line = (
        f"From the default ({default['roc_auc']:.4f}) to the accurate preset ({accurate['roc_auc']:.4f}) it is "
        f"{_with_margin(accurate['difference'], accurate['difference_margin'])}"
    )
    if alone is None or alone["difference"] is None or alone["network"] is None:
        return [f"{line}."]
    by_themselves = _with_margin(alone["difference"], alone["difference_margin"])
    added = _with_margin(alone["network"], alone["network_margin"])
    if is_luck(alone, "network"):
        verdict = f"a network beside them makes no difference beyond luck ({added})"
    elif is_luck(alone, "network") is None:
        verdict = f"a network beside them makes {added}, by luck or not"
    else:
        verdict = f"a network beside them {'adds' if alone['network'] > 0 else 'takes'} {added}"
    return [f"{line}; neighbours without a network make {by_themselves}, so {verdict}."]


def drawings(table: Sequence[Row], outcomes: Sequence[Outcome]) -> tuple[Drawing, ...]:
    """Differences by part, the way from textbook to accurate, and gain against cost."""
    changes = [
        row for row in table if row["group"] not in (DEFAULT, "step") and row["difference"] is not None
    ]
    groups: dict[str, list[Row]] = {}
    for row in changes:
        groups.setdefault(row["group"], []).append(row)
    sorted_groups = {
        group: {
            row["change"]: (1000 * row["difference"], _thousandths(row["difference_margin"]))
            for row in sorted(some, key=lambda row: row["difference"], reverse=True)
        }
        for group, some in groups.items()
    }
    made = []
    if sorted_groups:
        made.append(
            Drawing(
                "differences",
                "What each change does to ROC-AUC",
                "Mean difference from the default of the same class and seed, in thousandths of ROC-AUC; the bar is "
                "its 95% interval, and a hollow point one whose interval holds 0. The axis is linear from -1 to 1 and "
                "logarithmic beyond.",
                plots.differences(
                    sorted_groups, x="difference of ROC-AUC from the default, in thousandths", linear=1
                ),
            )
        )
    steps = {
        row["change"]: {"missing": 1000 * (1 - row["roc_auc"])}
        for row in table
        if row["group"] == "step" and row["roc_auc"] is not None
    }
    if steps:
        made.append(
            Drawing(
                "steps",
                "From textbook to accurate, a part at a time",
                "What the mean ROC-AUC lacks of 1 after each step, in thousandths. In another order each step would "
                "give another amount.",
                plots.bars(steps, y="1 - ROC-AUC, in thousandths"),
            )
        )
    clouds = {
        group: ([_seconds(row) for row in some], [1000 * row["difference"] for row in some])
        for group, some in groups.items()
        if group != "score" and any(_seconds(row) is not None for row in some)
    }
    if clouds:
        made.append(
            Drawing(
                "cost",
                "What changes cost, and what they give",
                "A point a change. The cost is CPU seconds to train and to score 10,000 images, on one thread.",
                plots.points(
                    clouds, x="CPU seconds, training and scoring", y="difference of ROC-AUC, thousandths"
                ),
            )
        )
    return tuple(made)


def _thousandths(value: float | None) -> float | None:
    return None if value is None else 1000 * value


def method(scope: Scope) -> tuple[str, ...]:
    """What was trained and measured."""
    normal = normal_classes(scope.dataset, NORMAL, scope.quick)
    seeds = QUICK_SEEDS if scope.quick else SEEDS
    small = (
        f" Here it has {QUICK_HIDDEN[0]} hidden units, {QUICK_SCHEDULE['epochs']} epochs and a learning rate of "
        f"{QUICK_SCHEDULE['learning_rate']}."
        if scope.quick
        else ""
    )
    return (
        f"{described_problems(normal)} Seeds {text.listed(seeds)}, each with a split of its own.",
        "The default is an autoencoder of layers of 512 and 256 units and a code of 16 that sees the digit settled "
        f"(upright, at a common spread of its ink), is trained to remove noise, and judges by bent.{small} Each row "
        "changes one thing of it, with the same split and seed. Other scores are of the very same network; neighbours "
        "alone are the part of the accurate preset that compares with training images, without its network.",
        "Judged on development images: held-out normals against up to 10,000 training images of the other classes. "
        "The test part is not used.",
        "A difference is the mean over classes and seeds of that of a pair which shares both; its interval is by "
        "Student's t over these pairs. Of twenty changes that do nothing, one is outside its interval by luck.",
        "CPU seconds are medians on one thread; those of scoring are of 10,000 images, from "
        f"{text.count(TIMED)} or as many as there are.",
    )


STUDY = Study(
    NAME,
    "What does each part of a detector give?",
    "A good detector is many choices: what the network sees, the noise it is trained against, its score, its size, "
    "several networks, the nearest training images. Each is changed by itself, all else alike, to see which matter and "
    "which only cost; then they are added up, from the autoencoder of a textbook to the best preset.",
    cells,
    rows,
    COLUMNS,
    answer,
    drawings,
    method,
)
