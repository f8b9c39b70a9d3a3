"""How a detector says what it is: in one line, and as a card in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomalae import cards, text
from anomalae.settings import DEFAULT_ALPHA

if TYPE_CHECKING:
    from anomalae.detectors.detector import Detector
    from anomalae.detectors.tabular import TableDetector
    from anomalae.models.training.state import Epoch


def line(detector: Detector) -> str:
    """Return model, score, and what it was fitted on, in one line."""
    settings = detector.settings
    return f"<Detector {settings.short}, score {settings.rule}, {_fitted_on(detector)}>"


def table_line(detector: TableDetector) -> str:
    """Return the same of a detector of tables."""
    model = detector.asked.get("model", "ae")
    state = f"fitted on {text.plural(len(detector.mean), 'column')}" if detector.history else "not fitted"
    return f"<TableDetector {model}, score mse, {state}>"


def card(detector: Detector) -> str:
    """Return a card: the settings that matter, the data, the threshold; and the course of the training."""
    settings, data = detector.settings, detector.data
    values: dict[str, object] = {
        "model": f"{settings.short} ({settings.kind.title})",
        "layers": f"{text.setting(settings.hidden)}; embedding {settings.latent_dim}",
        "likelihood": settings.likelihood,
        "score": settings.rule,
    }
    if detector._fitted is None:
        return cards.card("Detector, not fitted", cards.facts(values))
    threshold = detector.threshold(DEFAULT_ALPHA)
    shown = "none: too few calibration images" if threshold is None else text.short(threshold)
    values |= {
        "data": data.name or "arrays",
        "normal": text.listed(data.normal),
        "images": data.images_in_words,
        "epochs": f"{settings.epochs}, {text.plural(settings.batch_size or 0, 'image')} a step",
        "threshold": f"{shown} at alpha {DEFAULT_ALPHA:g}",
        "trained": f"{text.moment(detector.created)}, {detector.environment.device}, "
        f"{text.plural(detector.environment.threads, 'thread')}, arithmetic {detector.environment.arithmetic}",
    }
    if detector.start:
        values["started from"] = detector.start["run"] or "a detector in no folder"
    return cards.card(
        "Detector, fitted", cards.facts(values), _loss(detector.history, settings.kind.loss_unit)
    )


def _fitted_on(detector: Detector) -> str:
    if detector._fitted is None:
        return "not fitted"
    data = detector.data
    images = f"fitted on {text.plural(data.n_train, 'image')}"
    return (
        f"{images} of {text.printable(data.name)}, {text.some_classes(data.normal)}" if data.name else images
    )


def _loss(history: list[Epoch], unit: str) -> str:
    """Return the loss by epoch as a curve."""
    epochs, losses = [epoch.epoch for epoch in history], [epoch.loss for epoch in history]
    # Rounded to a whole number where that is precise enough: an axis has no room for an exponent.
    least, most = (
        f"{loss:.0f}" if abs(loss) >= 100 else text.short(loss, 3) for loss in (min(losses), max(losses))
    )
    return cards.curve(
        epochs,
        losses,
        ("epoch", f"loss, {unit}"),
        ends=((str(epochs[0]), str(epochs[-1])), (least, most)),
        told=f"training loss from {text.short(losses[0])} to {text.short(losses[-1])}",
    )
