"""The model card of a run: one Markdown file with a header of YAML, as hubs of models expect it."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalae import text
from anomalae.evaluation import conformal
from anomalae.evaluation.cross_conformal import proved_rate
from anomalae.reports.content import RunReport
from anomalae.reports.pages import words
from anomalae.settings import Settings
from anomalae.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

CARD = "card.md"
# How the hub of Hugging Face calls data sets that are the official ones.
_HUB = {"mnist": "ylecun/mnist", "fashion-mnist": "zalando-datasets/fashion_mnist"}
# What Markdown, or the HTML in it, would read as more than text.
_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~$&])")


def model_card(report: RunReport) -> str:
    """Return the model card of a run: its data, how it was trained, its numbers, its limits, how to load it.

    report: of the run, as `anomalae.reports.collect.run_report` collects it; pictures are not needed.

    Returns Markdown (CommonMark with tables), whose header is YAML. Names from the data are escaped.
    """
    report = _without_place(report)
    trained, evaluation = report.trained, report.evaluation
    n = trained.n_calibration if report.own is None else report.own.n
    template = resources.files("anomalae.reports.pages") / "templates" / f"{CARD}.j2"
    return (
        _environment()
        .from_string(template.read_text(encoding="utf-8"))
        .render(
            report=report,
            trained=trained,
            facts=trained.facts,
            evaluation=evaluation,
            header=_header(report),
            own_settings=_own_settings(trained.facts.settings),
            own=report.own,
            n_calibration=n,
            smallest_alpha=conformal.smallest_alpha(n),
            proved_rate=_proved_rate(report),
            version=__version__,
        )
    )


def _without_place(report: RunReport) -> RunReport:
    """Return a report in which a folder of one's own has its name alone: a card is for others."""
    trained = report.trained
    if not Path(trained.dataset).is_absolute():
        return report
    name = Path(trained.dataset).name
    commands = tuple(command.replace(trained.dataset, name) for command in trained.facts.commands)
    facts = dataclasses.replace(trained.facts, commands=commands)
    return dataclasses.replace(report, trained=dataclasses.replace(trained, dataset=name, facts=facts))


def _proved_rate(report: RunReport) -> float | None:
    """Return what the false-alarm rate by folds is proved not to exceed; None where there are none."""
    folds, n = report.trained.folds, report.trained.n_calibration
    judged = folds and report.evaluation.threshold is not None
    return proved_rate(n, folds, report.evaluation.alpha) if judged else None


def _own_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that are not what they would be by themselves."""
    usual = Settings.of(model=settings["model"]).to_dict()
    return {name: value for name, value in settings.items() if value != usual.get(name) and value is not None}


def _header(report: RunReport) -> Markup:
    """Return the YAML that hubs read. Each value stands as JSON, which YAML takes as it is."""
    from markupsafe import Markup

    trained, evaluation = report.trained, report.evaluation
    hub = _HUB.get(trained.dataset) if trained.facts.verified else None
    measured = {
        "ROC-AUC": ("roc_auc", evaluation.roc_auc),
        "average precision": ("average_precision", evaluation.average_precision),
        f"detection rate at alpha {evaluation.alpha:g}": ("recall", evaluation.detection_rate),
        f"false-alarm rate at alpha {evaluation.alpha:g}": (
            "false_positive_rate",
            evaluation.false_alarm_rate,
        ),
    }
    metrics = [
        {"type": kind, "name": name, "value": round(value, 6)}
        for name, (kind, value) in measured.items()
        if value is not None
    ]
    result = {
        "task": {"type": "anomaly-detection", "name": "Anomaly detection"},
        "dataset": {"type": hub or trained.dataset, "name": trained.dataset, "split": "test"},
        "metrics": metrics,
    }
    fields = {
        "library_name": "anomalae",
        "tags": ["anomaly-detection", "one-class-classification", "autoencoder", "pytorch"],
        "datasets": [hub] if hub else [],
        "model-index": [{"name": trained.name, "results": [result]}],
    }
    return Markup("".join(f"{key}: {json.dumps(value)}\n" for key, value in fields.items() if value))


def _escaped(value: object) -> str:
    """Return a text as one line of Markdown that shows just that text.

    >>> _escaped("a|b <i>")
    'a\\\\|b \\\\<i\\\\>'
    """
    return _SPECIAL.sub(r"\\\1", text.printable(str(value)))


def _code(value: object) -> Markup:
    """Return a text as code within a line or the cell of a table."""
    from markupsafe import Markup

    shown = text.printable(str(value)).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    ticks = "`" * (longest + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return Markup(f"{ticks}{pad}{shown}{pad}{ticks}")


def _plain(value: object) -> Markup:
    """Return a text for a block of code, as it is but for what is no printable character."""
    from markupsafe import Markup

    return Markup(text.printable(str(value)).replace("```", "'''"))


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: _escaped(value) if type(value) is str else value,
    )
    environment.filters |= words.FILTERS | {
        "code": _code,
        "plain": _plain,
        "python": lambda value: _plain(repr(value)),
    }
    return environment
