"""How wide should the embedding be? MSE and ROC-AUC against width: plain and denoising autoencoder, VAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anomalae import plots, text
from anomalae.datasets.dataset import Dataset
from anomalae.experiments.cells import Cell, Result
from anomalae.experiments.kept_cells import Outcome
from anomalae.experiments.studies import compared
from anomalae.experiments.studies.base import Column, Drawing, Row, Scope, Study, deviation, finished, mean
from anomalae.experiments.studies.compared import left_out, note_missing, place_of, whole
from anomalae.experiments.studies.recipes import normal_classes
from anomalae.experiments.studies.trained import judge, problem, squared_error

NAME = "latent-dim"
WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 784)
QUICK_WIDTHS = (1, 4, 16, 64, 256)
NORMAL, ANOMALOUS = (8, 2), (4,)
SEEDS = (0, 1)
# By name: settings of the network, and the score by which it judges.
MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "plain AE": ({"model": "ae", "noise": 0.0}, "mse"),
    "denoising AE": ({"model": "ae"}, "mse"),
    "VAE": ({"model": "vae", "likelihood": "gaussian"}, "elbo"),
}
EPOCHS = {"one": 20, "nine": 4}
# Below that a width is as good as the best.
EQUAL = 0.001
# Relative change of a ratio of errors below which it stays as it is.
CHANGED = 0.01


def measure(dataset: Dataset, arguments: Mapping[str, Any]) -> Result:
    """Train one network, and measure errors, ROC-AUC, active units and CPU seconds."""
    task = problem(dataset, arguments)
    detector, seconds = task.fit_timed(arguments["settings"])
    by_rule = detector.score_all(task.judged.images)
    own = judge(by_rule[arguments["rule"]], task.is_anomaly)
    numbers = {
        **own,
        "roc_auc_mse": judge(by_rule["mse"], task.is_anomaly)["roc_auc"],
        "mse_train": squared_error(detector, task.train[:5000]),
        "mse_held_out": squared_error(detector, task.held_out),
        "mse_anomalies": squared_error(detector, task.judged.images[task.is_anomaly][:2000]),
        "held_out_score": float(detector.score(task.held_out, arguments["rule"]).mean()),
        "active_units": detector.validation.get("active_units"),
        "cpu_seconds": seconds,
        "n_train": len(task.train),
    }
    return Result(numbers)


def cells(scope: Scope) -> list[Cell]:
    """All widths of each model, one class normal and nine."""
    classes = list(scope.dataset.classes)
    problems = [("one", normal) for normal in normal_classes(scope.dataset, NORMAL, False)]
    odd = next((name for name in ANOMALOUS if name in classes), classes[-1])
    if len(classes) > 2:
        problems.append(("nine", [name for name in classes if name != odd]))
    small = {"hidden": (64,), "epochs": 15}
    made = []
    for kind, normal in problems[-2:] if scope.quick else problems:
        for name, (settings, rule) in MODELS.items():
            for width in QUICK_WIDTHS if scope.quick else WIDTHS:
                for seed in SEEDS[:1] if scope.quick else SEEDS:
                    asked = {**settings, "views": ("pixels",), "latent_dim": width, "passes": 1}
                    asked |= small if scope.quick else {"epochs": EPOCHS[kind]}
                    if asked["model"] != "ae":
                        del asked["passes"]
                    made.append(
                        scope.cell(
                            measure,
                            model=name,
                            kind=kind,
                            normal=normal,
                            width=width,
                            seed=seed,
                            settings=asked,
                            rule=rule,
                        )
                    )
    return made


# Numbers of a cell of which a row has the mean.
MEANS = (
    "roc_auc",
    "roc_auc_mse",
    "mse_train",
    "mse_held_out",
    "mse_anomalies",
    "held_out_score",
    "active_units",
    "cpu_seconds",
)


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row a model, problem and width: means over classes and seeds."""
    groups: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    places: dict[tuple[str, str, int], set[str]] = {}
    for asked, numbers in finished(outcomes):
        of_row = ("one" if asked["kind"] == "one" else "all but one", asked["model"], asked["width"])
        groups.setdefault(of_row, []).append(numbers)
        places.setdefault(of_row, set()).add(place_of(asked))
    made = []
    for (kind, model, width), some in groups.items():
        row: Row = {"normal_classes": kind, "model": model, "width": width, "trainings": len(some)}
        for key in MEANS:
            row[key] = mean([numbers[key] for numbers in some])
        row["roc_auc_sd"] = deviation([numbers["roc_auc"] for numbers in some])
        for at, end in enumerate(("low", "high")):
            row[f"roc_auc_{end}"] = mean([numbers["interval"][at] for numbers in some])
        made.append(row)
    note_missing(made, list(places.values()), lambda row: row["normal_classes"])
    return made


COLUMNS = (
    Column("normal_classes", "normal classes"),
    Column("model", "model"),
    Column("width", "width"),
    Column("mse_train", "MSE, training", 5),
    Column("mse_held_out", "MSE, held-out", 5),
    Column("mse_anomalies", "MSE, anomalies", 5),
    Column("roc_auc", "ROC-AUC", 4),
    Column("roc_auc_low", "95% from (mean)", 4),
    Column("roc_auc_high", "95% to (mean)", 4),
    Column("active_units", "active units", 1),
    Column("cpu_seconds", "CPU seconds", 1),
    compared.COLUMN,
)


def answer(table: Sequence[Row]) -> tuple[str, ...]:
    """Say where each model is best, what a wrong width costs, and what a rule without anomalies finds, and why."""
    by_kind: dict[str, dict[str, list[Row]]] = {}
    for row in whole(table):
        if row["roc_auc"] is not None:
            by_kind.setdefault(row["normal_classes"], {}).setdefault(row["model"], []).append(row)
    bests = [_best(kind, of_kind) for kind, of_kind in by_kind.items()]
    costs = [_costs(kind, of_kind) for kind, of_kind in by_kind.items()]
    reasons = [_why(kind, of_kind) for kind, of_kind in by_kind.items()]
    said = [*bests, *costs, _chosen(by_kind), *reasons]
    beside = left_out(
        table,
        lambda row: f"width {row['width']} of the {row['model']}, {_with(row['normal_classes'])} normal",
    )
    return (*(f"{sentence[:1].upper()}{sentence[1:]}." for sentence in said if sentence), *beside)


def _with(kind: str) -> str:
    return "one class" if kind == "one" else "all classes but one"


def _roc_auc(row: Row) -> float:
    return float(row["roc_auc"])


def _best(kind: str, of_kind: Mapping[str, Sequence[Row]]) -> str:
    """Where each model is best."""
    bests = {model: max(some, key=_roc_auc) for model, some in of_kind.items()}
    named = [
        f"{best['width']} for the {model} (ROC-AUC {best['roc_auc']:.4f})" for model, best in bests.items()
    ]
    return f"with {_with(kind)} normal, the best width is {text.sentence(named)}"


def _costs(kind: str, of_kind: Mapping[str, Sequence[Row]]) -> str:
    """What the worst width costs each model, and the widest."""
    worst, widest, unknown = [], [], []
    most = max(row["width"] for some in of_kind.values() for row in some)
    for model, some in of_kind.items():
        best, least = _roc_auc(max(some, key=_roc_auc)), min(some, key=_roc_auc)
        worst.append(f"{best - _roc_auc(least):.4f} for the {model} (width {least['width']})")
        at_most = next((row for row in some if row["width"] == most), None)
        if at_most is None:
            # Its widest row is narrower than that of the others.
            unknown.append(f"the {model}")
            continue
        lost = best - _roc_auc(at_most)
        widest.append(f"{f'{lost:.4f}' if lost > EQUAL else 'nothing'} for the {model}")
    rest = f", and is not known for {text.sentence(unknown)}" if unknown else ""
    return (
        f"with {_with(kind)} normal, the worst width costs a ROC-AUC of {text.sentence(worst)}; the widest, {most}, "
        f"costs {text.sentence(widest)}{rest}"
    )


def _why(kind: str, of_kind: Mapping[str, Sequence[Row]]) -> str:
    """Whether width costs the plain AE more than the denoising one, and whether copying explains it.

    The explanation is that a wide plain AE rebuilds anomalies as well as normal images. Then the ratio of their errors
    falls from the plain AE's best width to the widest, and does not with the denoising AE.
    """
    if "plain AE" not in of_kind or "denoising AE" not in of_kind:
        return ""
    plain, denoising = ({row["width"]: row for row in of_kind[name]} for name in ("plain AE", "denoising AE"))
    best, widest = max(plain.values(), key=_roc_auc)["width"], max(plain)
    if {best, widest} - denoising.keys():
        return ""
    lost, of_other = (
        max(map(_roc_auc, some.values())) - _roc_auc(some[widest]) for some in (plain, denoising)
    )
    lead = f"with {_with(kind)} normal, a width of {widest}"
    if lost <= EQUAL:
        return f"{lead} costs the plain AE nothing, so there is nothing to explain"
    if of_other >= lost - EQUAL:
        return f"{lead} costs the denoising AE no less than the plain AE"
    before, after = (_ratio(plain[width]) for width in (best, widest))
    other_before, other_after = (_ratio(denoising[width]) for width in (best, widest))
    falls, other_falls = after < (1 - CHANGED) * before, other_after < (1 - CHANGED) * other_before
    verdict = (
        "It is not that it copies anomalies"
        if not falls
        else "It copies anomalies more, but so does the denoising AE"
        if other_falls
        else "It may be that it copies anomalies"
    )
    return (
        f"{lead} costs the plain AE more than the denoising AE. {verdict}: its MSE is {after:.2f} times as high on "
        f"them as on held-out normals, and {before:.2f} times with its best width, {best}; that of the denoising AE "
        f"is {other_after:.2f} and {other_before:.2f} times as high"
    )


def _ratio(row: Row) -> float:
    return float(row["mse_anomalies"] / row["mse_held_out"])


def _chosen(by_kind: Mapping[str, Mapping[str, Sequence[Row]]]) -> str:
    """What choosing by held-out normals takes, and what that loses."""
    parts = []
    for kind, of_kind in by_kind.items():
        named = []
        for model, some in of_kind.items():
            chosen = min(some, key=lambda row: row["held_out_score"])
            missed = max(map(_roc_auc, some)) - _roc_auc(chosen)
            verdict = "as good as the best" if missed <= EQUAL else f"{missed:.4f} below the best"
            named.append(f"{chosen['width']} for the {model} ({verdict})")
        parts.append(f"{text.sentence(named)} with {_with(kind)} normal")
    if not parts:
        return ""
    return f"choosing the lowest mean score of held-out normal images takes width {'; '.join(parts)}"


def drawings(table: Sequence[Row], outcomes: Sequence[Outcome]) -> tuple[Drawing, ...]:
    """ROC-AUC and errors against width."""
    made = []
    for kind in dict.fromkeys(row["normal_classes"] for row in table):
        series, errors = {}, {}
        for model in dict.fromkeys(row["model"] for row in table):
            of_model = [row for row in table if (row["normal_classes"], row["model"]) == (kind, model)]
            x = [row["width"] for row in of_model]
            series[model] = plots.Series(
                x,
                [row["roc_auc"] for row in of_model],
                [row["roc_auc_low"] for row in of_model],
                [row["roc_auc_high"] for row in of_model],
            )
            errors[model] = plots.Series(x, [row["mse_held_out"] for row in of_model])
        classes, place = f"{_with(kind)} normal", kind.replace(" ", "-")
        made.append(
            Drawing(
                f"roc-auc-{place}",
                f"ROC-AUC against width, {classes}",
                "Mean over classes and seeds; the band is the mean of the 95% DeLong intervals.",
                plots.lines(series, x="width of the embedding", y="ROC-AUC", log_x=True),
            )
        )
        made.append(
            Drawing(
                f"mse-{place}",
                f"Squared error against width, {classes}",
                "Mean squared error a pixel of held-out normal images, pixels in [0, 1]; both axes are logarithmic.",
                plots.lines(
                    errors, x="width of the embedding", y="mean squared error", log_x=True, log_y=True
                ),
            )
        )
    return tuple(made)


def method(scope: Scope) -> tuple[str, ...]:
    """What was trained and measured."""
    made = cells(scope)
    normal = list({str(cell.arguments["normal"]): cell.arguments["normal"] for cell in made}.values())
    named = [text.listed([text.shortened(name, 16) for name in names]) for names in normal]
    if scope.quick:
        trained = "one hidden layer of 64 units, 15 epochs"
    else:
        trained = f"{EPOCHS['one']} epochs with one class normal, {EPOCHS['nine']} with all but one"
    return (
        f"Normal classes: {'; or '.join(named)}. Seeds: {text.listed(SEEDS[:1] if scope.quick else SEEDS)}; {trained}.",
        "Each model sees pixels. The plain AE is trained on the squared error without noise, the denoising AE rebuilds "
        "the clean image from a noisy one; both judge by MSE. The VAE has a Gaussian likelihood of one learned sigma; "
        "its score is the negative ELBO.",
        "Judged on development images: held-out normals against up to 10,000 training images of the other classes. "
        "The test part is not used.",
        "The 95% interval is the mean of DeLong's over classes and seeds: no interval of the mean.",
        "An active unit is one whose posterior mean varies by more than 0.01 over held-out images.",
    )


STUDY = Study(
    NAME,
    "How wide should the embedding be, and what does a wrong width cost?",
    "An embedding that is too narrow cannot rebuild what is normal; one that is too wide could copy anything. How much "
    "does either cost a detector, and can the right width be found without seeing an anomaly?",
    cells,
    rows,
    COLUMNS,
    answer,
    drawings,
    method,
)
