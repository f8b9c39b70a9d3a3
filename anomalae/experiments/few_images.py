"""What so many normal images gave on MNIST: the kept table of `benchmarks/few_images.py`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from anomalae import text
from anomalae.datasets.splits import choose_folds

TABLE = Path(__file__).with_name("few_images.json")


@dataclass(frozen=True)
class Measured:
    """What was measured with so many normal images: means over digits and draws, and standard deviations (`_sd`).

    n: number of normal images.
    folds: number of folds in which they trained and calibrated; 0 where some were put aside for that.
    calibration: number of those that calibrated.
    cells: number of trainings. draws: of the digit with the fewest of them.
    """

    n: int
    folds: int
    calibration: int
    cells: int
    draws: int
    roc_auc: float
    roc_auc_sd: float
    false_alarm_rate: float
    false_alarm_rate_sd: float
    detection_rate: float
    detection_rate_sd: float

    def in_words(self) -> str:
        """Say what was measured, in a line."""
        alarms, detected = (
            f"{text.percent(rate)} ± {text.percent(sd)}"
            for rate, sd in (
                (self.false_alarm_rate, self.false_alarm_rate_sd),
                (self.detection_rate, self.detection_rate_sd),
            )
        )
        kept = _kept()
        return (
            f"ROC-AUC {self.roc_auc:.3f} ± {self.roc_auc_sd:.3f}, false alarms {alarms}, detected {detected} at alpha "
            f"{kept['alpha']:g} ({text.plural(self.cells, 'training')} by default settings, {self.draws} or more of "
            f"each of the digits {text.listed(kept['digits'], ',')} of MNIST)"
        )


@cache
def table() -> tuple[Measured, ...]:
    """Return the rows of the kept table, by number of images.

    >>> [row.n for row in table()]
    [30, 100, 300, 1000]
    """
    names = {field.name for field in fields(Measured)}
    return tuple(
        Measured(**{name: value for name, value in row.items() if name in names}) for row in _kept()["rows"]
    )


def nearest(n: int, folds: int) -> Measured | None:
    """Return the row whose number of images is nearest in proportion to n, of those that calibrated in the same way.

    n: number of normal images. folds: number of folds; 0 where some are put aside.

    Returns None for more than twice as many images as the table has, and for a way to calibrate that so many images do
    not take by themselves, which was not measured.

    >>> nearest(60, folds=5).n, nearest(700, folds=0).n, nearest(6000, folds=0)
    (100, 1000, None)
    """
    rows = [row for row in table() if row.folds == folds == choose_folds(n)]
    row = min(rows, key=lambda row: abs(math.log(row.n / n)), default=None)
    return None if row is None or n > 2 * row.n else row


@cache
def _kept() -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return kept
