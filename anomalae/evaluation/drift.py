"""Whether a stream of scores still looks as the calibration scores do: a conformal test martingale.

Of scores that are exchangeable with the calibration scores and with each other, the smoothed ranks among the
calibration scores and all rows before are independent and uniform, exactly. A game that bets against this, and begins
with a capital of 1, has 20 or more with a probability of at most 1/20, however long it goes on (Ville's inequality).

References: V. Vovk, "Testing randomness online", Statistical Science 36 (2021); V. Vovk, I. Petej, I. Nouretdinov,
E. Ahlberg, L. Carlsson, A. Gammerman, "Retrain or not retrain: conformal test martingales for change-point detection",
COPA (2021), whose Simple Jumper plays here. It loses on rows without drift, and would have next to nothing left when a
change comes late; so part of the capital waits, and joins the game bit by bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalae.errors import ConfigError
from anomalae.evaluation.checks import ordered_vector

# Bets on small and on large ranks, one that does not bet, and the share of the capital that changes its bet each row.
BETS, JUMP = (-1.0, 0.0, 1.0), 0.01
# Share of the capital that is put by at first, and the rows over which it begins to be bet: so that a change that comes
# late is met by a game that has not lost all on the rows before it.
RESERVE, PATIENCE = 0.5, 300
# Share of all that is never bet. Without it close to 1 in 20 of long streams without drift reach odds of 20.
NEVER = 0.25
# Odds against the scores being as before at which there is an alarm.
ODDS = 20.0
# Rows whose ranks are found at a time.
BLOCK = 512


@dataclass(frozen=True, eq=False)
class Drift:
    """A drift is what a stream of scores says of its being as before.

    capital: natural logarithm of the capital after each row, float64 (N,).
    alarm: place of the first row after which the capital is at least `odds`; None where it never is.
    odds: against chance, at which there is an alarm.

    >>> detect_drift([1.0, 2.0], calibration=[0.5, 1.5]).alarm is None
    True
    """

    capital: npt.NDArray[np.float64]
    alarm: int | None
    odds: float

    @property
    def highest(self) -> float:
        """The highest capital on the way, at least 1: the odds against there being no drift."""
        return float(np.exp(min(700.0, max(0.0, self.capital.max(initial=0.0)))))


def detect_drift(
    scores: npt.ArrayLike, calibration: npt.ArrayLike, *, odds: float = ODDS, seed: int = 0
) -> Drift:
    """Return whether scores, in the order in which they came, look as the calibration scores and each other.

    scores: (N,), higher = more anomalous.
    calibration: scores (n,) of n >= 1 held-out normal images.
    odds: at which there is an alarm, above 1: without drift there is one in at most a share 1 / odds of all streams,
        however long.
    seed: of what breaks ties.

    Raises ConfigError for NaN, an array that is not one-dimensional, no calibration scores, and odds of at most 1.

    >>> rng = np.random.default_rng(0)
    >>> detect_drift(rng.normal(size=1000), rng.normal(size=300)).alarm is None
    True
    >>> detect_drift(rng.normal(size=1000) + 1, rng.normal(size=300)).alarm < 300
    True
    """
    if not odds > 1:
        raise ConfigError(f"odds {odds}: must be above 1", setting="odds")
    values, before = ordered_vector("scores", scores), ordered_vector("calibration", calibration)
    if not before.size:
        raise ConfigError("calibration: no scores")
    capital = log_capital(smoothed_ranks(values, before, seed))
    over = np.flatnonzero(capital >= np.log(odds))
    return Drift(capital, int(over[0]) if over.size else None, float(odds))


def smoothed_ranks(
    scores: npt.NDArray[np.float64], calibration: npt.NDArray[np.float64], seed: int
) -> npt.NDArray[np.float64]:
    """Return the share of the calibration scores and of all scores before that are higher, float64 (N,) in [0, 1].

    scores: (N,). calibration: (n,). seed: of the share of equal scores, itself among them, that counts as higher.
    """
    drawn = np.random.default_rng(seed).random(len(scores))
    known, ranks = np.sort(calibration), np.empty(len(scores))
    for start in range(0, len(scores), BLOCK):
        some = scores[start : start + BLOCK]
        above = len(known) - np.searchsorted(known, some, side="right").astype(np.float64)
        equal = len(known) - np.searchsorted(known, some, side="left") - above
        # Of this block those that came before.
        earlier = np.tri(len(some), k=-1, dtype=bool)
        above += (earlier & (some > some[:, None])).sum(1)
        equal += (earlier & (some == some[:, None])).sum(1) + 1
        n = len(known) + np.arange(1, len(some) + 1)
        ranks[start : start + BLOCK] = (above + drawn[start : start + BLOCK] * equal) / n
        known = np.sort(np.concatenate([known, some]), kind="stable")
    return ranks


def log_capital(ranks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the logarithm of the capital after each rank, of streams (..., N) of ranks in [0, 1]."""
    capital = np.empty_like(ranks, dtype=np.float64)
    total = np.zeros(ranks.shape[:-1])
    # Shares of the capital now: what is put by, and what is on each bet.
    reserve = np.full(ranks.shape[:-1], RESERVE)
    bets = np.reshape(BETS, (-1, *[1] * (ranks.ndim - 1)))
    at_stake = np.full((len(BETS), *ranks.shape[:-1]), (1 - RESERVE) / len(BETS))
    for place in range(ranks.shape[-1]):
        moved = reserve / (place + PATIENCE)
        reserve = reserve - moved
        even = (JUMP * at_stake.sum(0) + moved) / len(BETS)
        at_stake = ((1 - JUMP) * at_stake + even) * (1 + bets * (ranks[..., place] - 0.5))
        gain = reserve + at_stake.sum(0)
        reserve, at_stake = reserve / gain, at_stake / gain
        total = total + np.log(gain)
        capital[..., place] = total
    return np.logaddexp(np.log(NEVER), np.log(1 - NEVER) + capital)
