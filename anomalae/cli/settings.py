"""Options that become `Settings`, shared by the commands that train, and `--config FILE.toml`."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from anomalae.cli import options as common
from anomalae.errors import ConfigError
from anomalae.settings import (
    ARCHITECTURES,
    BATCH,
    LEAST_BATCH,
    LIKELIHOODS,
    MODELS,
    MOST_LAYERS,
    PIXELS,
    PRESET_LINES,
    PRESETS,
    SCHEDULE,
    SCORES,
    VIEWS,
    Settings,
)

F = TypeVar("F", bound=Callable[..., Any])

_DEFAULT = Settings()
_SCHEDULE = "; ".join(
    f"{model} {least}, more where {steps:,} steps need them" for model, (least, steps) in SCHEDULE.items()
)
SETTINGS = (
    "model", "architecture", "latent_dim", "hidden", "epochs", "batch_size", "learning_rate", "noise", "score",
    "passes", "likelihood", "beta", "samples", "layers", "auxiliary_dim", "views",
    "members", "neighbours",
)  # fmt: skip


def _widths(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        return tuple(int(width) for width in value.split(",")) if value.strip() else ()
    except ValueError:
        raise click.BadParameter(f"{value!r}: expected whole numbers with commas, as in 1024,512") from None


def _word(value: Any) -> str:
    """A value as it is typed."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _described(values: dict[str, Any]) -> str:
    """A preset as the flags it stands for."""
    return " ".join(f"--{name.replace('_', '-')} {_word(value)}" for name, value in values.items())


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(name.strip() for name in value.split(","))


def settings_options(function: F) -> F:
    """The options named in SETTINGS; each is None when not given, so that the measured default holds."""
    hidden = ",".join(map(str, _DEFAULT.hidden))
    options = [
        click.option(
            "--preset",
            type=click.Choice(list(PRESETS)),
            help="A set of settings: "
            + "; ".join(f"{name}: {_described(PRESETS[name])} ({PRESET_LINES[name]})" for name in PRESETS)
            + ". Any of them given as well wins.",
        ),
        click.option("--model", type=click.Choice(MODELS), help="Kind of model.  [default: ae]"),
        click.option(
            "--architecture", type=click.Choice(ARCHITECTURES), help="Kind of layers.  [default: dense]"
        ),
        click.option(
            "--latent-dim",
            type=click.IntRange(1, PIXELS),
            help=f"Width of the embedding.  [default: {_DEFAULT.latent_dim}]",
        ),
        click.option(
            "--hidden",
            callback=_widths,
            metavar="N,N",
            help=f"Units of the encoder's dense layers, or channels of its two conv layers; the decoder mirrors "
            f"them.  [default: {hidden}; conv: {','.join(map(str, Settings.of(architecture='conv').hidden))}]",
        ),
        click.option(
            "--epochs",
            type=click.IntRange(1),
            help=f"Passes over the training images.  [default: {_SCHEDULE}]",
        ),
        click.option(
            "--batch-size",
            type=click.IntRange(1),
            help=f"Images a step.  [default: {BATCH}, down to {LEAST_BATCH} for few images]",
        ),
        click.option(
            "--learning-rate",
            type=click.FloatRange(0, min_open=True),
            help=f"Peak of the one-cycle schedule.  [default: {_DEFAULT.learning_rate:g}]",
        ),
        click.option(
            "--noise",
            type=click.FloatRange(0),
            help="Scale of the coarse and the pixel noise added in training; 0 is a plain autoencoder with L2 loss.  "
            f"[default: {_DEFAULT.noise:g}]",
        ),
        click.option(
            "--score",
            type=click.Choice(SCORES),
            help=f"Rule that judges images.  [default: ae {Settings().rule}, the others {Settings(model='vae').rule}]",
        ),
        click.option(
            "--passes",
            type=click.IntRange(1),
            help="Times an image is rebuilt, the reconstruction rebuilt again; their mean is compared.  "
            "[default: 2 of a denoising ae, else 1]",
        ),
        click.option(
            "--likelihood",
            type=click.Choice(LIKELIHOODS),
            help=f"Of all but the ae: the density of an image given its code.  [default: {LIKELIHOODS[0]}]",
        ),
        click.option(
            "--beta",
            type=click.FloatRange(0),
            help="Of all but the ae: weight of the KL term in training; scores use 1.  [default: 1]",
        ),
        click.option(
            "--samples",
            type=click.IntRange(1),
            help="Of all but the ae: draws of the code by which an image is scored, the same for all.  "
            f"[default: {Settings(model='vae').samples}]",
        ),
        click.option(
            "--layers",
            type=click.IntRange(1, MOST_LAYERS),
            help="Of a ladder-vae: layers of latents, each half as wide as the one below.  "
            f"[default: {Settings(model='ladder-vae').layers}]",
        ),
        click.option(
            "--auxiliary-dim",
            type=click.IntRange(1, PIXELS),
            help=f"Of an adgm: width of the auxiliary variable.  [default: {Settings(model='adgm').auxiliary_dim}]",
        ),
        click.option(
            "--views",
            callback=_names,
            metavar="VIEW,VIEW",
            help="What the networks of an ensemble see, one a view and scored together: "
            f"{', '.join(VIEWS)}.  [default: {','.join(_DEFAULT.views)}]",
        ),
        click.option(
            "--members",
            type=click.IntRange(1),
            help=f"Networks a view, of different seeds.  [default: {_DEFAULT.members}]",
        ),
        click.option(
            "--neighbours",
            type=click.IntRange(0),
            help="Beside the networks, set an image against so many training images most like it, and let them count "
            f"as much as all networks.  [default: {_DEFAULT.neighbours}, none]",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def make_settings(given: dict[str, Any], **more: Any) -> Settings:
    """Settings of the options in `given`; a value out of range is a usage error (exit status 2)."""
    values = {name: given[name] for name in SETTINGS if given[name] is not None}
    preset = dict(PRESETS.get(given["preset"], {}))
    for name in values:
        if name in preset and values[name] != preset[name]:
            flag = f"--{name.replace('_', '-')} {_word(values[name])}"
            common.warn(f"{flag} wins over {_word(preset[name])} of --preset {given['preset']}")
    if values.get("architecture") == "conv" and preset.pop("hidden", None):
        common.warn(f"--architecture conv wins over the hidden layers of --preset {given['preset']}")
    score = None if "score" in values else preset.pop("score", None)
    try:
        settings = Settings.of(**{**preset, **values}, **more)
        if score in settings.rules:
            return dataclasses.replace(settings, score=score)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    if score is not None:
        common.warn(f"{settings.short} has no {score} of --preset {given['preset']}: {settings.rule} judges")
    return settings


def config_option(function: F) -> F:
    """`--config FILE.toml`: the command's long options as keys; a flag on the command line wins."""
    return click.option(
        "--config",
        "config_file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        help="Take options from a TOML file (keys as the long options); a flag wins over the file.",
    )(function)


def _read_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    if value is None:
        return
    try:
        keys = tomllib.loads(value.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise click.BadParameter(f"{value}: not readable as TOML: {error}") from None
    options = {
        opt.lstrip("-").replace("-", "_"): p
        for p in ctx.command.params
        for opt in p.opts
        if opt.startswith("--") and p.name not in {"config_file", "resume"}
    }
    defaults: dict[str, Any] = {}
    for key, content in keys.items():
        name = key.replace("-", "_")
        if name not in options:
            near = difflib.get_close_matches(name, [n for n in options if n], n=1)
            hint = f"; did you mean {near[0].replace('_', '-')!r}?" if near else ""
            raise click.BadParameter(f"{value}: unknown key {key!r}{hint}")
        option = options[name]
        defaults[str(option.name)] = _as_option(value, key, content, option)
    ctx.default_map = {**(ctx.default_map or {}), **defaults}


def _as_option(path: Path, key: str, content: Any, option: click.Parameter) -> Any:
    if isinstance(content, dict):
        raise click.BadParameter(f"{path}: key {key!r}: expected a value, got a table")
    if option.multiple:
        return [str(item) for item in (content if isinstance(content, list) else [content])]
    if isinstance(content, list):
        return ",".join(str(item) for item in content)
    if isinstance(option, click.Option) and option.is_flag:
        if not isinstance(content, bool):
            raise click.BadParameter(f"{path}: key {key!r}: expected true or false, got {content!r}")
        return content
    return str(content)
