"""The study of losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from anomalae.experiments.studies import agreement
from anomalae.experiments.studies import loss as study
from anomalae.experiments.studies.trained import Problem
from tests.experiments.studies.made_up import check_cells, outcome, run_quick

ORDER = np.arange(10, dtype=np.float32)


def made_up(
    loss: str,
    aucs: dict[str, float],
    normal: int = 8,
    seed: int = 0,
    ink: float = 0.0,
    ranks: np.ndarray = ORDER,
):
    by_rule: dict[str, Any] = {
        rule: {
            "roc_auc": value,
            "interval": [value - 0.01, value + 0.01],
            "by_class": {"1": value, "3": value - 0.1},
            "ink": ink,
            "gray": None,
        }
        for rule, value in aucs.items()
    }
    arrays = {f"ranks {rule}": ranks for rule in aucs}
    return outcome({"loss": loss, "normal": [normal], "seed": seed}, {"by_rule": by_rule}, arrays)


def every(value: float, **others: float) -> dict[str, float]:
    return {**dict.fromkeys(study.ERRORS, value), **others}


def test_cells():
    check_cells("loss", quick=5, full=100)


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    some, others = rng.normal(size=50), rng.integers(0, 5, 50)
    assert agreement.agreement(some, others) == pytest.approx(spearmanr(some, others).statistic)
    assert agreement.agreement(some, np.ones(50)) is None


def test_classes_are_judged_apart_against_all_normal_images():
    labels = np.array([0, 0, 1, 1, 2])
    scores = np.array([1.0, 2.0, 3.0, 1.5, 0.0])
    assert study.class_aucs(scores, labels, labels > 0) == {"1": 0.75, "2": 0.0}


def test_rows_are_means_of_a_loss_and_a_score():
    table = study.rows([made_up(study.PLAIN, {"mse": 0.9}), made_up(study.PLAIN, {"mse": 0.8}, normal=2)])
    (row,) = table
    assert row["roc_auc"] == pytest.approx(0.85)
    assert (row["hardest"], row["roc_auc_hardest"]) == ("3", pytest.approx(0.75))
    assert row["own"]
    assert row["roc_auc of class 1"] == pytest.approx(0.85)
    assert row["agrees"] == pytest.approx(1)
    assert row["gray"] is None


def test_agreement_is_within_a_problem():
    outcomes = [
        made_up(study.PLAIN, {"mse": 0.9}),
        made_up(study.BERNOULLI, {"elbo": 0.9}, ranks=ORDER[::-1]),
        # Of a class that the other loss has not.
        made_up(study.BERNOULLI, {"elbo": 0.9}, normal=2),
    ]
    table = study.rows(outcomes)
    assert [row["agrees"] for row in table] == pytest.approx([1, -1])
    assert study.rows(outcomes[1:])[0]["agrees"] is None


def answer(*outcomes):
    return " ".join(study.answer(study.rows(outcomes)))


def test_the_answer_turns_with_the_losses():
    worse = answer(
        made_up(study.GAUSSIAN, {"elbo": 0.95}), made_up(study.BERNOULLI, {"elbo": 0.90, "elbo-excess": 0.93})
    )
    assert worse.startswith("Yes: ")
    assert "a mean ROC-AUC of 0.9500 (VAE, Gaussian) and 0.9000 (VAE, Bernoulli)." in worse
    assert "a Bernoulli likelihood is worse than a Gaussian one" in worse
    assert "raises that of Bernoulli, to 0.9300" in worse
    better = answer(
        made_up(study.GAUSSIAN, {"elbo": 0.90}), made_up(study.BERNOULLI, {"elbo": 0.95, "elbo-excess": 0.93})
    )
    assert "a Bernoulli likelihood is better than a Gaussian one" in better
    assert "lowers that of Bernoulli, to 0.9300" in better
    same = answer(
        made_up(study.GAUSSIAN, {"elbo": 0.95}),
        made_up(study.BERNOULLI, {"elbo": 0.951, "elbo-excess": 0.951}),
    )
    assert same.startswith("No: ")
    assert "a Bernoulli likelihood is as good as a Gaussian one" in same
    assert "hardly changes that of Bernoulli, to 0.9510" in same


def test_the_answer_sets_training_against_judging():
    by_score = {**every(0.9), "bent": 0.99}
    assert "The score that judges matters more than the loss" in answer(
        made_up(study.PLAIN, by_score), made_up(study.GAUSSIAN, by_score)
    )
    assert "The score that judges matters less than the loss" in answer(
        made_up(study.PLAIN, every(0.9)), made_up(study.GAUSSIAN, every(0.99))
    )
    assert "The score that judges matters as much as the loss" in answer(
        made_up(study.PLAIN, every(0.9)), made_up(study.GAUSSIAN, every(0.9))
    )
    # Without all of them nothing is said.
    assert "that judges m" not in answer(
        made_up(study.PLAIN, every(0.9)), made_up(study.GAUSSIAN, {"mse": 0.9})
    )


def test_means_over_fewer_classes_are_not_compared():
    both = [made_up(study.GAUSSIAN, {"elbo": value}, normal) for normal, value in ((8, 0.99), (2, 0.8))]
    words = answer(*both, made_up(study.BERNOULLI, {"elbo": 0.95}))
    assert "a Bernoulli likelihood is" not in words
    assert "The best pair of loss and score is VAE, Gaussian" in words
    assert "Not compared, as trainings are missing that others have: VAE, Bernoulli (1 of 2)." in words
    words = answer(
        *both, made_up(study.BERNOULLI, {"elbo": 0.95}), made_up(study.BERNOULLI, {"elbo": 0.7}, 2)
    )
    assert "a Bernoulli likelihood is worse than a Gaussian one" in words
    assert "Not compared" not in words


@pytest.mark.parametrize(
    ("ink", "other", "said"),
    [
        (
            0.9,
            -0.5,
            "much on the amount of ink: most for AE, squared error (rank correlation +0.90: the more ink, the",
        ),
        (
            -0.9,
            -0.1,
            "much on the amount of ink: most for AE, squared error (rank correlation -0.90: the less ink, the",
        ),
        (
            0.1,
            -0.3,
            "somewhat on the amount of ink: most for VAE, direction (rank correlation -0.30: the less ink",
        ),
        (0.1, 0.0, "hardly on the amount of ink: most for AE, squared error (rank correlation +0.10), least"),
    ],
)
def test_the_answer_tells_who_minds_ink(ink, other, said):
    words = answer(
        made_up(study.PLAIN, {"mse": 0.9}, ink=ink), made_up("VAE, direction", {"elbo": 0.9}, ink=other)
    )
    assert f"depends {said}" in words
    least, value = ("AE, squared error", ink) if abs(ink) < abs(other) else ("VAE, direction", other)
    assert f"least for {least} ({value:+.2f})." in words


def test_the_answer_tells_how_far_they_agree():
    near, far = ORDER.copy(), ORDER[::-1]
    near[:2] = near[1::-1]
    middle = np.concatenate([ORDER[3::-1], ORDER[4:]])

    def said(*orders):
        return answer(
            made_up(study.PLAIN, {"mse": 0.9}),
            *(
                made_up(loss, {"elbo": 0.9}, ranks=ranks)
                for loss, ranks in zip((study.GAUSSIAN, study.BERNOULLI), orders, strict=True)
            ),
        )

    assert (
        "find different normal images anomalous: the scores of the AE by MSE agree most with those of VAE, Gaussian"
        in said(near, far)
    )
    assert "least with those of VAE, Gaussian, judged by elbo (-1.00)" in said(far, near)
    assert "find about the same normal images anomalous" in said(ORDER, near)
    assert agreement.agreement(ORDER, middle) > 0.8
    assert "find partly the same normal images anomalous" in said(near, np.roll(ORDER, 1))


def test_the_answer_copes_with_failed_cells():
    failed = outcome({"loss": study.PLAIN, "normal": [8], "seed": 0}, None)
    assert study.rows([failed]) == []
    assert study.answer([]) == ()
    alone = [failed, made_up(study.GAUSSIAN, {"elbo": 0.9})]
    assert study.answer(study.rows(alone)) == (
        "The best pair of loss and score is VAE, Gaussian, judged by elbo, with a mean ROC-AUC of 0.9000; the "
        "anomalous class that it detects worst is 3 (0.8000).",
    )
    assert study.drawings(study.rows(alone), alone)


def test_cells_end_to_end(digits):
    small = {"hidden": (8,), "epochs": 1, "views": ("pixels",)}
    outcomes = []
    for name in (study.PLAIN, study.BERNOULLI):
        settings = {**study.LOSSES[name][0], **small}
        settings |= {"samples": 2} if settings["model"] == "vae" else {}
        arguments = {"loss": name, "normal": [0], "seed": 0, "settings": settings, "shown": True}
        result = study.measure(digits, arguments)
        outcomes.append(outcome(arguments, dict(result.numbers), dict(result.arrays)))
    table = study.rows(outcomes)
    assert [row["score"] for row in table] == [*study.ERRORS, "elbo", "elbo-excess", *study.ERRORS]
    assert [row["score"] for row in table if row["own"]] == ["mse", "elbo"]
    assert len(study.drawings(table, outcomes)) == 4
    # The film shows the highest scores, highest first.
    task = Problem(digits, (0,), 0)
    unseen = np.concatenate([task.held_out, task.calibration])
    ranks = outcomes[0].result.arrays["ranks mse"]
    assert np.array_equal(outcomes[0].result.arrays["film mse"][0], unseen[np.argmax(ranks)])
    assert (
        sum(len(images) for one in outcomes for name, images in one.result.arrays.items() if "film" in name)
        <= 100
    )


@pytest.mark.slow
def test_the_whole_quick_study(tmp_path):
    run_quick("loss", tmp_path)
