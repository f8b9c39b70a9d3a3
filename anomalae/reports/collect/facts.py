"""What a run is: its model in words and layers, its data, and what is needed to make it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anomalae import plots
from anomalae.detectors.detector import Detector
from anomalae.experiments.command_lines import report_command, train_command
from anomalae.models import build, networks
from anomalae.reports.content import EpochLine, Facts, Layer, Trained
from anomalae.settings import DEFAULT_ALPHA, Settings
from anomalae.text import count, plural

# Draws from the prior.
DRAWS = 25


def describe(
    folder: Path, detector: Detector, alpha: float = DEFAULT_ALPHA, rule: str | None = None
) -> Trained:
    """Describe a run's model, data and facts, judging by `rule`.

    folder: of the run.
    detector: of the run.
    alpha: false-alarm level that sets the heatmaps' scale, as for the heatmaps of scored images.
    rule: by which images are judged; None is the run's own.
    """
    rule = detector.check_rule(rule)
    data, settings = detector.data, detector.settings
    scale = plots.heat_scale(detector.heatmap_level(alpha, rule))
    return Trained(
        name=folder.resolve().name,
        path=str(folder),
        dataset=data.name or "arrays",
        normal=tuple(str(name) for name in data.normal),
        anomalous=tuple(str(name) for name in data.anomalous),
        model=_words(settings),
        rule=rule,
        heat_note=detector.heatmap_note(rule),
        heat_scale=scale,
        n_calibration=detector.n_calibration,
        layers=_layers(settings),
        history=tuple(
            EpochLine(line.epoch, line.loss, line.validation_loss, line.learning_rate)
            for line in detector.history
        ),
        validation=detector.validation,
        facts=_facts(folder, detector, alpha),
        loss_unit=settings.kind.loss_unit,
        prior=detector.generate(DRAWS) if settings.kind.density else None,
        folds=data.folds,
    )


def _words(settings: Settings) -> str:
    denoising = "denoising " if settings.noise > 0 else ""
    words = f"{settings.architecture} {denoising}{settings.kind.title}"
    if settings.n_networks > 1:
        words += f", {settings.n_networks} networks"
    if settings.views != ("pixels",):
        words += f", which sees {', '.join(settings.views)}"
    if settings.neighbours:
        words += f", and {settings.neighbours} nearest training images"
    return words


def _layers(settings: Settings) -> tuple[Layer, ...]:
    layers = []
    for network in networks(settings):
        view = f"{network.view}: " if settings.n_networks > 1 else ""
        # Weights that several layers share are counted once.
        counted: set[int] = set()
        for path, layer in build(network).named_modules():
            weights = [p for p in layer.parameters(recurse=False) if id(p) not in counted]
            counted |= {id(weight) for weight in weights}
            n_parameters = sum(weight.numel() for weight in weights)
            if n_parameters:
                name = view + (path.partition(".")[0].replace("_", " ") or "network")
                layers.append(Layer(name, type(layer).__name__, _size(layer), n_parameters))
    return tuple(layers)


def _size(layer: Any) -> str:
    def has(*names: str) -> bool:
        return all(hasattr(layer, name) for name in names)

    if has("in_features", "out_features"):
        return f"{count(layer.in_features)} → {count(layer.out_features)}"
    if has("in_channels", "out_channels", "kernel_size", "stride"):
        return (
            f"{layer.in_channels} → {layer.out_channels} channels, kernel {layer.kernel_size[0]}, "
            f"stride {layer.stride[0]}"
        )
    return ""


def _facts(folder: Path, detector: Detector, alpha: float) -> Facts:
    name = folder.resolve().name
    data, environment = detector.data, detector.environment
    counts = {
        "training": data.n_train,
        "validation": data.n_validation,
        "calibration": data.n_calibration,
        "test": data.n_test,
    }
    machine = (
        f"{environment.device} ({environment.processor})",
        plural(environment.threads, "thread"),
        f"arithmetic {environment.arithmetic}",
        environment.platform,
    )
    return Facts(
        commands=(
            train_command(
                data,
                detector.settings,
                environment,
                alpha=alpha,
                name=name,
                start=detector.start.get("run") or None,
            ),
            report_command(name),
        ),
        seed=detector.settings.seed,
        settings=detector.settings.to_dict(),
        versions={**environment.versions, **detector.parts},
        counts=counts,
        hashes=dict(data.hashes),
        verified=data.verified,
        created=detector.created,
        seconds=sum(line.seconds for line in detector.history),
        machine=", ".join(machine),
    )
