"""The martingale: ranks by hand, no alarm without drift as often as promised, and an alarm with it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from anomalae.evaluation import detect_drift
from anomalae.evaluation import drift as module
from anomalae.evaluation.drift import log_capital, smoothed_ranks


def by_hand(scores, calibration, seed):
    drawn = np.random.default_rng(seed).random(len(scores))
    known, ranks = list(calibration), []
    for score, u in zip(scores, drawn, strict=True):
        known.append(score)
        above, equal = sum(k > score for k in known), sum(k == score for k in known)
        ranks.append((above + u * equal) / len(known))
    return ranks


@pytest.mark.parametrize("block", [1, 3, 512])
def test_ranks_are_those_counted_by_hand_with_ties_too(block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    rng = np.random.default_rng(0)
    for levels in (3, 1000):
        scores = rng.integers(0, levels, 40).astype(float)
        calibration = rng.integers(0, levels, 11).astype(float)
        found = smoothed_ranks(scores, calibration, 5)
        np.testing.assert_allclose(found, by_hand(scores, calibration, 5), rtol=1e-12)


def test_the_capital_is_that_of_the_game_played_by_hand():
    ranks = np.random.default_rng(1).random(50) ** 2
    put_by, expected = 0.75 * 0.5, []
    stakes = dict.fromkeys((-1, 0, 1), 0.75 * 0.5 / 3)
    for row, rank in enumerate(ranks):
        joins = put_by / (row + 300)
        put_by -= joins
        even = (0.01 * sum(stakes.values()) + joins) / 3
        stakes = {bet: 0.99 * stake + even for bet, stake in stakes.items()}
        stakes = {bet: stake * (1 + bet * (rank - 0.5)) for bet, stake in stakes.items()}
        expected.append(np.log(0.25 + put_by + sum(stakes.values())))
    np.testing.assert_allclose(log_capital(ranks), expected, atol=1e-12)
    several = log_capital(np.stack([[ranks, ranks[::-1]]] * 3))
    np.testing.assert_array_equal(several[2, 0], log_capital(ranks))


def test_on_average_the_game_is_fair():
    """Over uniform ranks the capital has mean 1 after any number of rows."""
    capital = np.exp(log_capital(np.random.default_rng(2).random((20_000, 30))))
    np.testing.assert_allclose(capital.mean(0), 1, atol=4 * capital.std(0).max() / np.sqrt(20_000))


def alarms(streams: int, rows: int, n: int = 300) -> int:
    rng = np.random.default_rng(3)
    ranks = np.stack(
        [smoothed_ranks(rng.normal(size=rows), rng.normal(size=n), seed) for seed in range(streams)]
    )
    return int((log_capital(ranks).max(1) >= np.log(20)).sum())


def test_without_drift_alarms_are_as_rare_as_promised():
    assert alarms(200, 2000) <= 10


@pytest.mark.slow
def test_a_thousand_streams_of_a_hundred_thousand_rows_have_at_most_one_alarm_in_twenty():
    assert sum(alarms_of(group) for group in range(20)) <= 50


def alarms_of(group: int, streams: int = 50, rows: int = 100_000) -> int:
    rng = np.random.default_rng([4, group])
    ranks = np.stack(
        [smoothed_ranks(rng.normal(size=rows), rng.normal(size=500), seed) for seed in range(streams)]
    )
    return int((log_capital(ranks).max(1) >= np.log(20)).sum())


@pytest.mark.parametrize(("change", "within"), [(1.0, 200), (-1.0, 200), (0.4, 800)])
def test_another_level_is_seen_whichever_way_and_when_it_comes(change, within):
    rng = np.random.default_rng(5)
    calibration = rng.normal(size=500)
    early = detect_drift(rng.normal(size=2000) + change, calibration)
    assert early.alarm is not None
    assert early.alarm < within
    scores = rng.normal(size=3000)
    scores[1000:] += change
    late = detect_drift(scores, calibration)
    assert late.alarm is not None
    assert 1000 <= late.alarm < 1000 + 2 * within
    assert late.highest >= 20


def test_a_change_that_comes_late_is_seen_as_soon_as_an_early_one():
    rng = np.random.default_rng(7)
    scores = rng.normal(size=62_000)
    scores[60_000:] += 0.5
    late = detect_drift(scores, rng.normal(size=500))
    assert late.alarm is not None
    assert 60_000 <= late.alarm < 60_800


def test_the_luck_of_a_calibration_set_is_no_drift():
    """Ranks against a fixed set would read its luck as drift; here rows before count too."""
    rng = np.random.default_rng(6)
    assert (
        sum(detect_drift(rng.normal(size=3000), rng.normal(size=20)).alarm is not None for _ in range(60))
        <= 6
    )


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="odds 1"):
        detect_drift([1.0], [1.0], odds=1)
    with pytest.raises(ValueError, match="no scores"):
        detect_drift([1.0], [])
    with pytest.raises(ValueError, match=r"(?i)nan|not a number"):
        detect_drift([float("nan")], [1.0])
    assert detect_drift([], [1.0]).alarm is None
    assert detect_drift([], [1.0]).highest == 1
    assert detect_drift([1.0], [1.0], odds=1.5).odds == 1.5


def test_what_was_found_stays_and_can_be_a_key():
    first, second = (detect_drift([1.0, 2.0], [1.5]) for _ in range(2))
    assert {first: "first", second: "second"}[second] == "second"
    with pytest.raises(FrozenInstanceError):
        first.alarm = 0
