"""Where scoring time goes: parts of one's own that stand for ours and hold a stopwatch."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from anomalae import Settings, register_model, register_score, register_view
from anomalae.network_kinds import MODELS
from anomalae.plugins import SCORES, VIEWS
from anomalae.scores import Score
from anomalae.settings import SettingArguments

VIEW, NETWORK, SCORE = "view", "network", "score"
# What scores ask of a network, see `anomalae.models.base`.
ASKED = ("reconstruct", "encode", "decode", "hidden", "infer", "kl_units", "log_terms", "unit_means")


class Stopwatch:
    """A stopwatch adds up CPU seconds by part; what a part spends in another counts for that one alone."""

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self.clock = clock
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = 0.0

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time added to a part."""

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            self._turn(part)
            try:
                return function(*arguments, **named)
            finally:
                self._turn(None)

        return call

    def _turn(self, part: str | None) -> None:
        now = self.clock()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now
        if part is None:
            self._running.pop()
        else:
            self._running.append(part)


class TimedScore(Score):
    """A timed score is one of ours under another name."""

    def __init__(self, name: str, inner: Score, watch: Stopwatch) -> None:
        for attribute in (
            "line",
            "scale",
            "judges",
            "learned",
            "least_images",
            "has_terms",
            "drawn_as",
            "heat_line",
        ):
            vars(self)[attribute] = getattr(inner, attribute)
        self.name, self.fits, self.learn, self.terms = name, inner.fits, inner.learn, inner.terms
        self.score = watch.timed(SCORE, inner.score)


def timed(settings: Settings, watch: Stopwatch) -> SettingArguments:
    """Settings of the same detector whose views, networks and score are timed. They are registered here."""
    kind, inner = MODELS[settings.model], SCORES[settings.rule]
    model, rule = f"timed-{settings.model}", f"timed-{settings.rule}"

    def make(own: Any, channels: int) -> Any:
        network = kind.make(own, channels)
        for asked in ASKED:
            if hasattr(network, asked):
                vars(network)[asked] = watch.timed(NETWORK, getattr(network, asked))
        return network

    register_model(replace(kind, name=model, maker=make))
    register_score(TimedScore(rule, inner, watch))
    for name in settings.views:
        view = VIEWS[name]
        source = watch.timed(VIEW, view.source)
        target = view.target and watch.timed(VIEW, view.target)
        register_view(replace(view, name=f"timed-{name}", source=source, target=target))
    views = [f"timed-{name}" for name in settings.views]
    return {**settings.to_dict(), "model": model, "score": rule, "views": views}
