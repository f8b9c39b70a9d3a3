"""How an evaluation says what it found: in one line, and as a card in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomalae import cards, text

if TYPE_CHECKING:
    from anomalae.evaluation.metrics import Evaluation


def line(evaluation: Evaluation) -> str:
    """Return the figures in one line."""
    figures = [
        " ".join(filter(None, ("ROC-AUC", _with_interval(evaluation.roc_auc, evaluation.roc_auc_interval)))),
        f"AP {text.number(evaluation.average_precision)}",
        f"FPR95 {text.number(evaluation.fpr_at_95_tpr)}",
    ]
    if evaluation.threshold is not None:
        alarms = f"{text.percent(evaluation.false_alarm_rate)} false alarms"
        detected = f"{text.percent(evaluation.detection_rate)} detected"
        figures.append(f"{detected} and {alarms} at alpha {evaluation.alpha:g}")
    return f"<Evaluation {', '.join([*figures, _images(evaluation)])}>"


def card(evaluation: Evaluation) -> str:
    """Return a card: the ROC curve, the figures, and each anomalous class against the normal images."""
    prevalence = text.percent(evaluation.prevalence)
    values = {
        "ROC-AUC": _with_interval(evaluation.roc_auc, evaluation.roc_auc_interval),
        "average precision": f"{text.number(evaluation.average_precision)} at {prevalence} anomalies",
        "FPR at 95% TPR": text.number(evaluation.fpr_at_95_tpr),
        "detection rate": text.percent(evaluation.detection_rate),
        "false-alarm rate": text.percent(evaluation.false_alarm_rate),
        f"threshold at alpha {evaluation.alpha:g}": text.short(evaluation.threshold, missing="none"),
    }
    parts = (_roc(evaluation), cards.facts(values), _classes(evaluation))
    return cards.card(f"Evaluation: {_images(evaluation)}", *filter(None, parts))


def _images(evaluation: Evaluation) -> str:
    normal, anomalous = text.count(evaluation.n_normal), text.count(evaluation.n_anomalous)
    return f"{normal} normal and {anomalous} anomalous images"


def _with_interval(value: float | None, ends: tuple[float, float] | None) -> str:
    return f"{text.number(value)} {text.interval(ends, brackets=True)}".strip()


def _roc(evaluation: Evaluation) -> str:
    """Return the ROC curve, with a dot at the threshold; nothing where there is one kind of image only."""
    if evaluation.roc_auc is None:
        return ""
    fpr, tpr, _ = evaluation.roc_curve()
    alarms, detected = evaluation.false_alarm_rate, evaluation.detection_rate
    return cards.curve(
        fpr.tolist(),
        tpr.tolist(),
        ("false-alarm rate", "detection rate"),
        spans=((0, 1), (0, 1)),
        ends=(("0", "1"), ("0", "1")),
        diagonal=True,
        marked=None if alarms is None or detected is None else (alarms, detected),
        told=f"ROC curve, area {text.number(evaluation.roc_auc)}",
    )


def _classes(evaluation: Evaluation) -> str:
    """Return the anomalous classes as a table, the first of many; nothing without labels."""
    named = list(evaluation.per_class.items())
    if not named:
        return ""
    caption = "each anomalous class against the normal images"
    return cards.table(
        caption if len(named) <= cards.MOST else f"{caption}: {cards.MOST} of {len(named)}",
        ("class", "images", "ROC-AUC", "95% interval"),
        [
            (
                text.shortened(name),
                text.count(result.n),
                text.number(result.roc_auc),
                text.interval(result.roc_auc_interval, brackets=True),
            )
            for name, result in named[: cards.MOST]
        ],
    )
