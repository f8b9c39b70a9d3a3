"""How wide should the embedding be? MSE and ROC-AUC against width: plain and denoising autoencoder, VAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anomalae import plots, text
from anomalae.datasets.dataset import Dataset
from anomalae.experiments.cells import Cell, Result
from anomalae.experiments.kept_cells import Outcome
from anomalae.experiments.studies.base import Column, Drawing, Row, Scope, Study, deviation, finished, mean
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
    for asked, numbers in finished(outcomes):
        groups.setdefault((asked["kind"], asked["model"], asked["width"]), []).append(numbers)
    made = []
    for (kind, model, width), some in groups.items():
        row: Row = {"normal_classes": kind, "model": model, "width": width, "trainings": len(some)}
        for key in MEANS:
            row[key] = mean([numbers[key] for numbers in some])
        row["roc_auc_sd"] = deviation([numbers["roc_auc"] for numbers in some])
        for at, end in enumerate(("low", "high")):
            row[f"roc_auc_{end}"] = mean([numbers["interval"][at] for numbers in some])
        made.append(row)
    return made


COLUMNS = (
    Column("normal_classes", "normal classes"),
    Column("model", "model"),
    Column("width", "width"),
    Column("mse_train", "MSE: training", 5),
    Column("mse_held_out", "held-out", 5),
    Column("mse_anomalies", "anomalies", 5),
    Column("roc_auc", "ROC-AUC", 4),
    Column("roc_auc_low", "from", 4),
    Column("roc_auc_high", "to", 4),
    Column("active_units", "active units", 1),
    Column("cpu_seconds", "CPU seconds", 1),
)


def answer(table: Sequence[Row]) -> tuple[str, ...]:
    """Say where each model is best, what a wrong width costs, and what a rule without anomalies finds."""
    usable = [row for row in table if row["roc_auc"] is not None]
    said = []
    for kind in dict.fromkeys(row["normal_classes"] for row in usable):
        of_kind: dict[str, list[Row]] = {}
        for row in usable:
            if row["normal_classes"] == kind:
                of_kind.setdefault(row["model"], []).append(row)
        classes = "With one class normal" if kind == "one" else "With all classes but one normal"
        bests = {model: max(some, key=_roc_auc) for model, some in of_kind.items()}
        named = [
            f"{best['width']} for the {model} (ROC-AUC {best['roc_auc']:.4f})"
            for model, best in bests.items()
        ]
        said.append(f"{classes} the best width is {text.sentence(named)}.")
        costs = [_cost(model, some, bests[model]) for model, some in of_kind.items()]
        said.append(f"{classes} a wrong width costs up to {text.sentence(costs)}.")
        plain, denoising = (of_kind.get(model) for model in ("plain AE", "denoising AE"))
        if plain and denoising:
            said.append(_why(classes, plain, denoising))
        chosen = [_chosen(model, some, bests[model]) for model, some in of_kind.items()]
        said.append(
            f"{classes} the width of the least mean score of held-out normals is {text.sentence(chosen)}."
        )
    return tuple(said)


def _roc_auc(row: Row) -> float:
    return float(row["roc_auc"])


def _cost(model: str, some: Sequence[Row], best: Row) -> str:
    """What the worst width costs, and the widest."""
    worst, widest = min(some, key=_roc_auc), max(some, key=lambda row: row["width"])
    lost, lost_at_most = best["roc_auc"] - widest["roc_auc"], best["roc_auc"] - worst["roc_auc"]
    words = f"{lost_at_most:.4f} of ROC-AUC for the {model} (at a width of {worst['width']}"
    return (
        f"{words}; the widest, {widest['width']}, {f'costs {lost:.4f}' if lost > EQUAL else 'costs nothing'})"
    )


def _why(classes: str, plain: Sequence[Row], denoising: Sequence[Row]) -> str:
    """Whether the widest network has learned to copy: how much better it rebuilds normals than anomalies."""
    ratios = []
    for some in (plain, denoising):
        widest = max(some, key=lambda row: row["width"])
        ratios.append(widest["mse_anomalies"] / widest["mse_held_out"])
    copies = "copies more of what it was not trained on" if ratios[0] < ratios[1] else "copies no more"
    return (
        f"{classes} the widest plain AE rebuilds anomalies with {ratios[0]:.1f} times the error of held-out normals, "
        f"the widest denoising AE with {ratios[1]:.1f} times: the plain one {copies}."
    )


def _chosen(model: str, some: Sequence[Row], best: Row) -> str:
    """What choosing by held-out normals takes, and what that loses."""
    chosen = min(some, key=lambda row: row["held_out_score"])
    missed = best["roc_auc"] - chosen["roc_auc"]
    verdict = "as good as the best" if missed <= EQUAL else f"{missed:.4f} below the best"
    return f"{chosen['width']} for the {model}, {verdict}"


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
            errors[f"{model}, held-out"] = plots.Series(x, [row["mse_held_out"] for row in of_model])
        classes = "one class normal" if kind == "one" else "nine classes normal"
        made.append(
            Drawing(
                f"roc-auc-{kind}",
                f"ROC-AUC against width, {classes}",
                "Mean over classes and seeds; the band is the mean of the 95% DeLong intervals.",
                plots.lines(series, x="width of the embedding", y="ROC-AUC", log_x=True),
            )
        )
        made.append(
            Drawing(
                f"mse-{kind}",
                f"Squared error against width, {classes}",
                "Mean squared error of held-out normal images, pixels in [0, 1].",
                plots.lines(
                    errors, x="width of the embedding", y="mean squared error", log_x=True, log_y=True
                ),
            )
        )
    return tuple(made)


def method(scope: Scope) -> tuple[str, ...]:
    """What was trained and measured."""
    return (
        "Each model sees pixels. The plain AE has an L2 loss and no noise, the denoising AE rebuilds the clean image "
        "from a disturbed one, the VAE has a Gaussian likelihood of one learned sigma and is judged by its ELBO; the "
        "others by MSE.",
        "Judged on development images: held-out normals against up to 10,000 training images of the other classes. "
        "The test part is not used.",
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
