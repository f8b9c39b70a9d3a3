"""Options that become `Settings`, made from the settings' own descriptions, and `--config FILE.toml`."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from anomalae import files
from anomalae.cli import console
from anomalae.cli import options as common
from anomalae.cli.console import nearest, said
from anomalae.errors import BundleError, ConfigError, PartError
from anomalae.ranges import Choice, Real, Rule, Views, Whole, Widths
from anomalae.settings import DESCRIPTIONS, PRESET_LINES, PRESETS, Description, Settings
from anomalae.text import typed

F = TypeVar("F", bound=Callable[..., Any])

# Bytes of a TOML file of options: far more than all of them take.
MOST_CONFIG = 2**20
# Each setting is an option; `--seed` is the commands' own, for it is of the split too.
SETTINGS = tuple(name for name in DESCRIPTIONS if name != "seed")


def flag(name: str) -> str:
    """Return the option of a setting: `--latent-dim`."""
    return f"--{name.replace('_', '-')}"


def _widths(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        return tuple(int(width) for width in value.split(",")) if value.strip() else ()
    except ValueError:
        raise click.BadParameter(f"{value!r}: expected whole numbers with commas, as in 1024,512") from None


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(name.strip() for name in value.split(","))


def _described(values: dict[str, Any]) -> str:
    """Return a preset as the flags it stands for."""
    return " ".join(f"{flag(name)} {typed(value)}" for name, value in values.items())


class _OneOf(common.OneOf):
    """One of several names, looked up on use: a program may have registered parts of its own by then."""

    def __init__(self, allowed: Choice) -> None:
        self._allowed = allowed
        self.case_sensitive = True

    @property
    def choices(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names there are now."""
        return self._allowed.names()


def _typed(description: Description) -> dict[str, Any]:
    """Return what Click must know to read the values of a setting."""
    allowed = description.range
    if isinstance(allowed, Whole):
        return {"type": click.IntRange(allowed.least, allowed.most)}
    if isinstance(allowed, Real):
        return {"type": click.FloatRange(allowed.least, min_open=allowed.open)}
    if isinstance(allowed, Choice):
        return {"type": _OneOf(allowed)}
    if isinstance(allowed, Widths):
        return {"callback": _widths, "metavar": "N,N"}
    if isinstance(allowed, Views):
        return {"callback": _names, "metavar": "VIEW,VIEW"}
    return {"metavar": "RULE"}


def _option(name: str) -> Callable[[F], F]:
    description = DESCRIPTIONS[name]
    shown = description.shown or typed(getattr(_DEFAULT, name))
    more = " `anomalae check --list` names all." if isinstance(description.range, Rule) else ""
    text = f"{description.help}{more}  [default: {shown}]"
    return click.option(flag(name), help=text, default=None, **_typed(description))


_DEFAULT = Settings()


def settings_options(function: F) -> F:
    """Add the options named in SETTINGS; each is None when not given, so that the measured default holds."""
    presets = "; ".join(f"{name}: {_described(PRESETS[name])} ({PRESET_LINES[name]})" for name in PRESETS)
    for name in reversed(SETTINGS):
        function = _option(name)(function)
    return click.option(
        "--preset",
        type=common.OneOf(list(PRESETS)),
        help=f"A set of settings: {presets}. Any of them given as well wins.",
    )(function)


def asked_for(options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a command's options name, those of its preset among them."""
    typed_settings = {name: options[name] for name in SETTINGS if options[name] is not None}
    return {**PRESETS.get(options["preset"], {}), **typed_settings}


def make_settings(options: dict[str, Any], **more: Any) -> Settings:
    """Make settings of a command's options; a value out of range is a usage error (exit status 2)."""
    values = {name: options[name] for name in SETTINGS if options[name] is not None}
    preset = dict(PRESETS.get(options["preset"], {}))
    for name in values:
        if name in preset and values[name] != preset[name]:
            asked = f"{flag(name)} {typed(values[name])}"
            console.warn(f"{asked} wins over {typed(preset[name])} of --preset {options['preset']}")
    score = None if "score" in values else preset.pop("score", None)
    try:
        settings = Settings.of(**{**preset, **values}, **more)
        if score in settings.rules:
            return dataclasses.replace(settings, score=score)
    except PartError:
        raise
    except ConfigError as error:
        raise click.UsageError(said(error)) from None
    if score is not None:
        console.warn(
            f"{settings.short} has no {score} of --preset {options['preset']}: {settings.rule} judges"
        )
    return settings


def config_option(function: F) -> F:
    """Add `--config FILE.toml`: the command's long options as keys; a flag on the command line wins."""
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
        keys = tomllib.loads(files.read_text(value, MOST_CONFIG))
    except BundleError as error:
        raise click.BadParameter(str(error)) from None
    except RecursionError:
        raise click.BadParameter(f"{value}: not readable as TOML: nested too deeply") from None
    # Of a number of thousands of digits too.
    except ValueError as error:
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
            near = nearest(name, options)
            hint = f"; did you mean {near.replace('_', '-')!r}?" if near else ""
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
