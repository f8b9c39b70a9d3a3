"""The filters of the templates: numbers and names of `anomalae.text`, with an en dash where there is none."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from anomalae import text

DASH = "–"

number = functools.partial(text.number, missing=DASH)
short = functools.partial(text.short, missing=DASH)
percent = functools.partial(text.percent, missing=DASH)
spread = functools.partial(text.spread, missing=DASH)
moment = functools.partial(text.moment, missing=DASH)

FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "short": short,
    "percent": percent,
    "spread": spread,
    "moment": moment,
    "digits": text.digits,
    "interval": text.interval,
    "count": text.count,
    "plural": text.plural,
    "listed": text.listed,
    "classes": text.classes,
    "distinct_names": text.distinct_names,
    "ordinal": text.ordinal,
    "duration": text.duration,
    "setting": text.setting,
}
