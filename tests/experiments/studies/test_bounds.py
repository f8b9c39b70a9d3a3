"""The study of bounds: integrals, bounds and best Gaussians against closed forms, words against other numbers."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from anomalae import load_dataset
from anomalae.experiments.cells import Result
from anomalae.experiments.executors.here import Here
from anomalae.experiments.kept_cells import Outcome, Shelf, do_all
from anomalae.experiments.studies import bounds, bounds_answer, gaussian_bounds, quadrature
from anomalae.experiments.studies.base import Scope
from anomalae.models.base import build
from anomalae.models.gaussians import gaussian
from anomalae.settings import Settings


def network_of(width: int, sigma: float = 0.3, **settings: Any) -> Any:
    """An untrained network with a decoder steep enough that a posterior is no prior."""
    asked = {"model": "vae", "hidden": (8,), "latent_dim": width, "samples": 1, **settings}
    network = build(Settings.of(**asked).network("pixels")).eval()
    with torch.no_grad():
        for weights in network.decoder.parameters():
            weights *= 2
        network.likelihood.log_sigma.fill_(math.log(sigma))
    return network


def images(n: int = 3) -> torch.Tensor:
    return torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(1))


class Bowl(torch.nn.Module):
    """A likelihood whose posterior is Gaussian: log p(x | z) = -(z - m)' A (z - m) / 2, whatever the image."""

    def __init__(self, centre: torch.Tensor, precision: torch.Tensor) -> None:
        super().__init__()
        self.centre, self.precision = centre, precision

    def logits(self, codes: torch.Tensor) -> torch.Tensor:
        return codes

    def likelihood(self, x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        off = logits - self.centre
        return -(off @ self.precision * off).sum(-1) / 2


# --- the mathematics


def test_bounds_are_means_of_logarithms_of_means():
    weights = torch.randn(16, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    loop = [
        np.mean([np.log(np.mean(np.exp(weights[4 * g : 4 * g + 4, i].numpy()))) for g in range(4)])
        for i in range(5)
    ]
    np.testing.assert_allclose(gaussian_bounds.weighted_bound(weights, 4), loop, rtol=1e-12)
    np.testing.assert_allclose(gaussian_bounds.weighted_bound(weights, 1), weights.mean(0), rtol=1e-12)
    rising = [gaussian_bounds.weighted_bound(weights, k) for k in (1, 2, 4, 8, 16)]
    assert all((more > fewer).all() for fewer, more in pairwise(rising))


def test_the_integral_over_one_unit_is_that_of_another_quadrature():
    network, x = network_of(1), images(2)
    with torch.no_grad():
        ours = quadrature.log_evidence(network, x, network.posterior(x), 0.005).log_evidence

        for image, value in zip(x, ours.tolist(), strict=True):
            assert value == pytest.approx(by_quad(network, image), abs=2e-3)


def by_quad(network: Any, image: torch.Tensor) -> float:
    def joint(z: float) -> float:
        code = torch.tensor([[z]], dtype=torch.float32)
        return float(network.likelihood(image.flatten()[None], network.logits(code))) - z * z / 2

    top = max(map(joint, np.linspace(-6, 6, 241)))
    area = quad(lambda z: math.exp(joint(z) - top), -8, 8, epsabs=0, epsrel=1e-4, points=[-2, 0, 2])[0]
    return math.log(area) + top - math.log(2 * math.pi) / 2


@pytest.mark.parametrize("units", [1, 2])
def test_the_integral_of_a_gaussian_is_its_closed_form(units: int, monkeypatch: pytest.MonkeyPatch):
    centre = torch.tensor([3.0, -1.0], dtype=torch.float64)[:units]
    precision = torch.tensor([[40.0, 10.0], [10.0, 20.0]], dtype=torch.float64)[:units, :units]
    bowl = Bowl(centre, precision)
    monkeypatch.setattr(
        quadrature, "log_likelihoods", lambda network, x, z: bowl.likelihood(x, z).expand(len(x), -1)
    )
    start = torch.zeros(2, units), torch.zeros(2, units)
    found = quadrature.log_evidence(bowl, images(2), start, 0.05)
    both = torch.eye(units, dtype=torch.float64) + precision
    mode = torch.linalg.solve(both, precision @ centre)
    constant = centre @ precision @ centre - mode @ both @ mode
    exact = -(constant + torch.logdet(both)) / 2
    np.testing.assert_allclose(found.log_evidence, [float(exact)] * 2, atol=1e-9)
    np.testing.assert_allclose(found.coarser, found.log_evidence, atol=1e-6)
    np.testing.assert_allclose(found.mode[0], mode, atol=0.05)


def test_a_likelihood_of_many_codes_is_the_networks_own():
    network, x = network_of(2), images(3)
    codes = torch.randn(4, 2, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        own = network.likelihood(x.flatten(1)[:, None], network.logits(codes)[None])
        np.testing.assert_allclose(quadrature.log_likelihoods(network, x, codes.double()), own, atol=2e-3)


def test_the_prior_of_a_ladders_lowest_layer_is_a_mixture_that_integrates_to_one():
    network = network_of(2, model="ladder-vae", layers=2)
    grid = quadrature.Grid.over(torch.tensor([-9.0, -9.0]), torch.tensor([9.0, 9.0]), 0.15)
    with torch.no_grad():
        total = torch.cat([quadrature.log_prior(network, codes) for codes, _ in grid.blocks()]).logsumexp(0)
        assert float(total) + grid.log_area == pytest.approx(0, abs=1e-3)

        def density(z: float, code: torch.Tensor) -> float:
            mean, log_variance = gaussian(network.priors[0](torch.tensor([[z]])))
            below = torch.distributions.Normal(mean, torch.exp(log_variance / 2)).log_prob(code).sum()
            return math.exp(float(below) - z * z / 2) / math.sqrt(2 * math.pi)

        code = torch.tensor([[0.7, -0.4]])
        by_quad = math.log(quad(density, -6, 6, args=(code,))[0])
        assert float(quadrature.log_prior(network, code.double())) == pytest.approx(by_quad, abs=1e-3)


@pytest.mark.parametrize(
    "settings",
    [{"model": "vae"}, {"model": "ladder-vae", "layers": 2}, {"model": "adgm", "auxiliary_dim": 2}],
)
def test_no_bound_is_above_the_exact_value(settings: dict[str, Any]):
    network, x = network_of(2, 0.5, **settings), images(4)
    draws = torch.randn(1024, network.width, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        weights = gaussian_bounds.log_weights(network, x, network.infer(x), draws)
        exact = quadrature.log_evidence(network, x, network.posterior(x), 0.05).log_evidence
    elbo, few, many = (gaussian_bounds.weighted_bound(weights, k) for k in (1, 16, 1024))
    assert (elbo < few).all()
    assert (few < many).all()
    # E[exp(bound - log p)] = 1, so that an excess of t nats has a probability of exp(-t) at most.
    assert (many - exact < math.log(1000)).all()
    assert float((many - exact).mean()) < bounds_answer.LUCK
    assert float((exact - elbo).mean()) > 0
    # The bound must come near it, or else the integral might be of anything.
    assert float((exact - many).abs().max()) < float((exact - elbo).mean())


def test_the_best_gaussian_is_the_closed_form_one():
    centre, precision = torch.tensor([1.0, -0.5]), torch.tensor([[8.0, 3.0], [3.0, 4.0]])
    bowl = Bowl(centre, precision)
    x, start = images(2), (torch.zeros(2, 2), torch.zeros(2, 2))
    mean, log_variance = gaussian_bounds.best_gaussians(
        bowl, x, start, torch.zeros(2, 2, dtype=torch.float64), 300
    )
    both = torch.eye(2) + precision
    np.testing.assert_allclose(mean, [torch.linalg.solve(both, precision @ centre).tolist()] * 2, atol=2e-3)
    np.testing.assert_allclose(log_variance.exp(), [(1 / both.diagonal()).tolist()] * 2, rtol=5e-3)
    # What is left is the divergence of that Gaussian from the posterior.
    nodes, shares = gaussian_bounds.hermite(2)
    reached = gaussian_bounds.node_bound(bowl, x, (mean, log_variance), nodes, shares)
    middle = torch.linalg.solve(both, precision @ centre)
    exact = -(centre @ precision @ centre - middle @ both @ middle + torch.logdet(both)) / 2
    left = (both.diagonal().log().sum() - torch.logdet(both)) / 2
    np.testing.assert_allclose(exact - reached, [float(left)] * 2, atol=1e-3)


def test_the_best_gaussian_is_found_from_the_mode_where_the_encoder_is_far_off():
    network, x = network_of(1, 0.3), images(2)
    with torch.no_grad():
        far = torch.full((2, 1), 7.0), torch.full((2, 1), -6.0)
        exact = quadrature.log_evidence(network, x, far, 0.01)
        best = gaussian_bounds.best_gaussians(network, x, far, exact.mode, 60)
        nodes, shares = gaussian_bounds.hermite(1)
        reached, before = (
            gaussian_bounds.node_bound(network, x, posterior, nodes, shares) for posterior in (best, far)
        )
    assert (reached > before + 5).all()
    assert (reached <= exact.log_evidence + 0.02).all()
    assert (reached > exact.log_evidence - 1).all()


def test_no_climb_leaves_the_encoders_gaussian_where_it_was():
    bowl = Bowl(torch.tensor([1.0]), torch.tensor([[3.0]]))
    posterior = torch.tensor([[0.75]]), torch.full((1, 1), -math.log(4))
    best = gaussian_bounds.best_gaussians(
        bowl, images(1), posterior, torch.full((1, 1), 9.0, dtype=torch.float64), 1
    )
    np.testing.assert_allclose(best[0], posterior[0], atol=1e-6)


# --- the grid of cells


def test_cells_are_fixed_and_none_is_twice():
    digits = load_dataset("digits")
    full, quick = (bounds.cells(Scope(digits, some)) for some in (False, True))
    assert (len(full), len(quick)) == (28, 5)
    for made in (full, quick):
        assert len({cell.key for cell in made}) == len(made)
        assert "part" not in {key for cell in made for key in cell.arguments}
        assert all(cell.arguments["normal"] != list(digits.classes) for cell in made)
    assert {len(cell.arguments["normal"]) for cell in full} == {1, 9}


# --- rows and words


def outcome(model: str = "VAE", width: int = 2, seed: int = 0, lift: float = 0.0, **more: Any) -> Outcome:
    samples = (1, 4, 16)
    side = {
        "iwae_1": 10.0 + lift,
        "iwae_4": 11.0 + lift,
        "iwae_16": 12.0 + lift,
        "exact": 14.0,
        "fitted": 13.5,
    }
    numbers = {
        "normal": side,
        "anomalous": {**side, "exact": 20.0},
        "roc_auc": {"iwae_1": 0.9, "iwae_16": 0.92, "exact": 0.95},
        "quadrature_error": 0.001,
        **more,
    }
    cell = Scope(load_dataset("digits"), True).cell(
        bounds.measure, model=model, kind="all but one", width=width, seed=seed, samples=samples
    )
    return Outcome(cell, Result(numbers))


def test_rows_are_means_and_differences():
    row, *rest = bounds.rows([outcome(), outcome(seed=1, lift=1.0)])
    assert not rest
    assert (row["elbo"], row["highest"], row["exact"], row["gap"]) == (10.5, 12.5, 14.0, 3.5)
    assert (row["approximation"], row["amortisation"]) == (0.5, 3.0)
    assert row["gap_anomalous"] == 9.5
    assert row["gap_sd"] == pytest.approx(math.sqrt(0.5))
    assert row["above_exact"] == -1.0
    assert row["roc_auc_tightest"] == 0.95
    assert bounds.rows([Outcome(outcome().cell, None, "failed")]) == []


def line(**values: Any) -> dict[str, Any]:
    row = {
        "normal_classes": "all but one", "model": "VAE", "width": 2, "samples": 16,
        "elbo": 10.0, "iwae_1": 10.0, "iwae_4": 11.0, "iwae_16": 12.0, "highest": 12.0, "exact": 14.0, "gap": 4.0,
        "approximation": 1.0, "amortisation": 3.0, "gap_anomalous": 9.0, "approximation_anomalous": 1.0,
        "amortisation_anomalous": 8.0, "above_exact": -2.0, "roc_auc_elbo": 0.9, "roc_auc_tightest": 0.95,
    }  # fmt: skip
    return {**row, **values}


WIDE = line(
    width=16,
    exact=None,
    gap=None,
    gap_anomalous=None,
    approximation=None,
    amortisation=None,
    above_exact=None,
)


def said(*table: dict[str, Any]) -> str:
    return " ".join(bounds.answer(table))


def test_the_answer_names_the_gap_and_its_larger_part():
    assert "the ELBO lies 4.00 nats (VAE of 2 units) below the exact log p(x)" in said(line())
    assert "on anomalies this gap is larger: 9.00 nats." in said(line())
    assert "on anomalies this gap is no larger: 2.00 nats." in said(line(gap_anomalous=2.0))
    assert "Most of the gap is amortisation" in said(line())
    assert "Most of the gap is approximation" in said(line(approximation=3.0, amortisation=1.0))
    mixed = said(line(), line(width=1, approximation=3.0, amortisation=1.0))
    assert "amortisation (the encoder misses the best Gaussian) in 1 of 2 rows" in mixed


def test_the_answer_says_whether_samples_close_the_gap():
    assert "16 samples (IWAE) do not close the gap: the bound goes 50% (VAE of 2 units) of the way" in said(
        line()
    )
    assert "close the gap: the bound goes 98%" in said(line(highest=13.92))
    assert "do not close" not in said(line(highest=13.92))
    assert (
        "close the gap for some networks only: the bound goes 50% (VAE of 2 units) to 98% (VAE of 1 unit)"
        in said(line(), line(width=1, highest=13.92))
    )
    assert "and the bound still rises: the last fourfold increase of samples adds 1.00 nats" in said(
        line(), WIDE
    )
    assert "hardly rises any more" in said(line(), {**WIDE, "iwae_4": 11.99})
    # One that hardly rises does not speak for the others.
    some = said(line(), WIDE, {**WIDE, "model": "ADGM", "iwae_4": 11.99})
    assert (
        "still rises in 1 of 2 rows of the table: the last fourfold increase of samples adds 0.01 to 1.00"
        in some
    )
    assert "at least" not in some


def test_the_answer_copes_with_networks_of_other_samples():
    few = {key: value for key, value in WIDE.items() if key != "iwae_4"}
    words = said(
        {**line(), "samples": 4},
        line(width=1),
        few,
        {**WIDE, "model": "ADGM", "samples": 64, "iwae_64": 12.0},
    )
    assert "4 to 16 samples (IWAE) do not close the gap" in words
    assert "16 to 64 samples add 2.0 nats" in words
    assert "the last increase of samples adds 0.00 to 2.00 nats" in words
    # Of trainings with other samples, a row has those of all.
    other = outcome(seed=1)
    more = {**other.cell.arguments, "samples": (1, 4, 16, 64)}
    cell = Scope(load_dataset("digits"), True).cell(bounds.measure, **more)
    numbers = {side: {**other.result.numbers[side], "iwae_64": 13.0} for side in bounds.SIDES}
    for some in ([outcome(), Outcome(cell, Result({**other.result.numbers, **numbers}))],):
        for trainings in (some, some[::-1]):
            (row,) = bounds.rows(trainings)
            assert (row["samples"], row["highest"]) == (16, 12.0)
            assert "iwae_64" not in row
            assert bounds.answer([row])


def test_a_gap_of_fewer_networks_is_not_compared():
    both = [outcome(), outcome(seed=1, lift=-4.0)]
    other = outcome("ladder VAE", lift=-1.0)
    words = said(*bounds.rows([*both, other]))
    assert "that of the ladder VAE" not in words
    assert "Not compared, as trainings are missing that others have: ladder VAE of 2 units (1 of 2)." in words
    words = said(*bounds.rows([*both, other, outcome("ladder VAE", seed=1, lift=-1.0)]))
    assert "that of the ladder VAE is smaller (5.00 against 6.00 nats)" in words
    assert "Not compared" not in words


def test_the_answer_says_when_the_order_is_broken():
    assert "ELBO <= IWAE <= log p(x) holds" in said(line())
    assert "holds, as it must" in said(line(), line(width=1, above_exact=bounds_answer.LUCK))
    assert "Log p(x)" not in said(line(gap=0.0))
    assert "ELBO <= IWAE <= log p(x) holds, as it must." in said(line(gap=0.0))
    assert "is broken by 0.30 nats (VAE of 1 unit)" in said(line(), line(width=1, above_exact=0.3))


def test_the_answer_sets_the_others_beside_the_vae():
    assert "ladder VAE is smaller (3.00 against 4.00 nats)" in said(line(), line(model="ladder VAE", gap=3.0))
    assert "ADGM is no smaller (5.00 against 4.00 nats)" in said(line(), line(model="ADGM", gap=5.0))


def test_the_answer_says_which_value_detects_better():
    assert "is better than the ELBO: a mean ROC-AUC of 0.9500 against 0.9000" in said(line())
    assert "is worse than the ELBO" in said(line(roc_auc_tightest=0.8))
    assert "is neither better nor worse" in said(line(roc_auc_tightest=0.901))
    # Means decide where they and most rows say different things.
    many = [line(roc_auc_tightest=0.91), line(roc_auc_tightest=0.91), line(roc_auc_tightest=0.5)]
    assert "is worse than the ELBO: a mean ROC-AUC of 0.7733 against 0.9000, better by more" in said(*many)


def test_the_answer_names_the_problem_where_there_are_several():
    one = line(normal_classes="one", gap=2.0)
    words = said(line(), one, WIDE, {**WIDE, "normal_classes": "one", "highest": 13.0})
    assert "2.00 nats (VAE of 2 units, one normal) to 4.00 nats (VAE of 2 units, all but one normal)" in words
    assert (
        "add 2.0 nats (VAE of 16 units, all but one normal) to 3.0 nats (VAE of 16 units, one normal)"
        in words
    )


def test_the_answer_copes_with_what_is_missing():
    assert "is not known" in said(WIDE)
    assert "is not known" in said()
    assert said(line(approximation=None, amortisation=None, gap_anomalous=None))
    assert len(bounds.answer([line(), line(model="ADGM"), line(model="ladder VAE"), WIDE])) <= 6


def test_one_cell_from_end_to_end():
    cell = next(
        cell for cell in bounds.cells(Scope(load_dataset("digits"), True)) if cell.arguments["width"] == 2
    )
    arguments = {
        **cell.arguments, "samples": (1, 4, 16), "images": 5, "step": 0.15, "fitting": 3,
        "settings": {**cell.arguments["settings"], "hidden": (16,), "epochs": 2},
    }  # fmt: skip
    result = type(cell)(cell.work, arguments, cell.source).do()
    for side in bounds.SIDES:
        values = result.numbers[side]
        assert values["iwae_1"] < values["iwae_4"] < values["iwae_16"]
        assert values["iwae_1"] <= values["fitted"] <= values["exact"] + bounds_answer.LUCK
    table = bounds.rows([Outcome(type(cell)(cell.work, arguments, cell.source), result)])
    drawn = bounds.drawings(table, [Outcome(cell, result)])
    assert [drawing.name for drawing in drawn] == ["gap", "parts", "posteriors"]
    assert result.arrays["posterior"].shape == (
        gaussian_bounds.SHOWN,
        gaussian_bounds.WINDOW,
        gaussian_bounds.WINDOW,
    )
    assert len(result.arrays["image"]) <= 100


@pytest.mark.slow
def test_the_quick_study_gives_an_answer(tmp_path):
    scope = Scope(load_dataset("digits"), True)
    outcomes = do_all(bounds.cells(scope), Shelf(tmp_path), Here())
    assert all(outcome.result for outcome in outcomes)
    table = bounds.rows(outcomes)
    assert "as it must" in " ".join(bounds.answer(table))
    assert len(bounds.drawings(table, outcomes)) == 4
    assert bounds.method(scope)
