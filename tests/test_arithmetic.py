"""Products are computed by the arithmetic that is asked for, and the user's process finds its settings as they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from anomalae import Detector, arithmetic
from anomalae.arithmetic import ONEDNN, PLAIN, available, chosen, computing, onednn_is_float32
from anomalae.errors import BundleError, ConfigError
from anomalae.files import read_json, write_json
from anomalae.runs.record import NEWEST, VERSION_WITH_ARITHMETIC

CPU = torch.device("cpu")
# Wide enough that products go to oneDNN.
SMALL = {"hidden": (64,), "latent_dim": 8, "epochs": 2, "batch_size": 32}

needs_onednn = pytest.mark.skipif(not onednn_is_float32(), reason="oneDNN multiplies as PyTorch does here")


def products() -> np.ndarray:
    """Products whose last bits tell by which arithmetic they were computed."""
    draws = np.random.default_rng(5)
    left, right = (torch.from_numpy(draws.random((256, 784), dtype=np.float32)) for _ in range(2))
    return (left @ right.T).numpy()


def setting() -> tuple[str, ...]:
    """All that PyTorch says of the precision of float32 products."""
    mkldnn, cuda = torch.backends.mkldnn, torch.backends.cuda.matmul
    known = [owner.fp32_precision for owner in (mkldnn, mkldnn.matmul, cuda) if hasattr(mkldnn, "matmul")]
    return (torch.get_float32_matmul_precision(), *known)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = setting()
    yield
    assert setting() == before


@pytest.fixture(scope="module")
def by() -> dict[str, np.ndarray]:
    """The products by each arithmetic."""
    found = {}
    for name in (PLAIN, ONEDNN):
        with computing(name):
            found[name] = products()
    return found


@needs_onednn
def test_each_arithmetic_has_its_own_last_bits(by):
    assert not np.array_equal(by[PLAIN], by[ONEDNN])
    np.testing.assert_allclose(by[PLAIN], by[ONEDNN], rtol=1e-5)
    np.testing.assert_array_equal(products(), by[PLAIN])


@needs_onednn
def test_blocks_lie_in_each_other(by):
    with computing(ONEDNN):
        with computing(PLAIN):
            np.testing.assert_array_equal(products(), by[PLAIN])
            with computing(ONEDNN), computing(ONEDNN):
                np.testing.assert_array_equal(products(), by[ONEDNN])
            np.testing.assert_array_equal(products(), by[PLAIN])
        np.testing.assert_array_equal(products(), by[ONEDNN])
    np.testing.assert_array_equal(products(), by[PLAIN])


def test_the_setting_is_put_back_after_an_error():
    before = setting()
    with pytest.raises(ZeroDivisionError), computing(ONEDNN), computing(PLAIN), computing(ONEDNN):
        raise ZeroDivisionError
    assert setting() == before


@needs_onednn
@pytest.mark.parametrize("own", ["highest", "high", "medium"])
def test_what_the_user_has_set_is_put_back_and_is_not_ours(own, by):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(own)
        theirs = setting()
        for name in (PLAIN, ONEDNN):
            with computing(name):
                np.testing.assert_array_equal(products(), by[name])
            assert setting() == theirs
    finally:
        torch.set_float32_matmul_precision(before)
        # PyTorch itself writes the one setting into these, and does not take it out again.
        for owner in (torch.backends.mkldnn, torch.backends.cuda):
            if hasattr(owner.matmul, "fp32_precision"):
                owner.matmul.fp32_precision = "none"


def test_on_another_device_nothing_is_set():
    before = setting()
    with computing(ONEDNN, torch.device("cuda")), computing(PLAIN, torch.device("meta")):
        assert setting() == before
    assert chosen(torch.device("cuda")) == PLAIN


@pytest.mark.skipif(
    not hasattr(torch.backends.mkldnn, "matmul"), reason="this PyTorch has one setting for all"
)
def test_products_on_cuda_are_left_alone():
    before = torch.backends.cuda.matmul.fp32_precision
    with computing(ONEDNN):
        assert torch.backends.cuda.matmul.fp32_precision == before


@needs_onednn
def test_threads_compute_each_by_its_own(by):
    """They begin together, and take turns in both orders and in blocks that lie in each other."""
    begin, wrong = threading.Barrier(4), []

    def compute(first: str, second: str) -> None:
        begin.wait()
        for _ in range(20):
            with computing(first):
                wrong.append(not np.array_equal(products(), by[first]))
                with computing(second):
                    wrong.append(not np.array_equal(products(), by[second]))
                wrong.append(not np.array_equal(products(), by[first]))

    pairs = [(PLAIN, ONEDNN), (ONEDNN, PLAIN)] * 2
    several = [threading.Thread(target=compute, args=pair) for pair in pairs]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join(60)
    assert not any(thread.is_alive() for thread in several)
    assert len(wrong) == 4 * 20 * 3
    assert not any(wrong)


def test_names_are_checked():
    with (
        pytest.raises(ConfigError, match="arithmetic 'bf16': must be one of plain, onednn"),
        computing("bf16"),
    ):
        pass


def test_products_that_are_no_float32_are_not_used(monkeypatch):
    """A processor that takes bfloat16 for it is made of this one: its products are rounded to that."""
    multiply = torch.Tensor.__matmul__

    def rounded(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        if left.dtype == torch.float32 and arithmetic._setting() in arithmetic._values(ONEDNN):
            return multiply(left.bfloat16(), right.bfloat16()).float()
        return multiply(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    onednn_is_float32.cache_clear()
    try:
        assert not onednn_is_float32()
        assert chosen(CPU) == available(ONEDNN) == PLAIN
    finally:
        onednn_is_float32.cache_clear()


# --- detectors and runs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parts(digits):
    split = digits.one_class(normal=[0], seed=0)
    return split.train.images, split.validation.images, split.calibration.images


@pytest.fixture(scope="module")
def fitted(parts) -> dict[str, Detector]:
    """Detectors of the same seed, trained by each arithmetic."""
    found = {}
    for name in (PLAIN, ONEDNN):
        with computing(name):
            found[name] = Detector(**SMALL, neighbours=2).fit(*parts)
    return found


@needs_onednn
def test_a_new_run_on_the_cpu_gets_onednn(parts, fitted, images):
    new = Detector(**SMALL, neighbours=2).fit(*parts)
    assert new.environment.arithmetic == chosen(CPU) == ONEDNN
    np.testing.assert_array_equal(new.score(images), fitted[ONEDNN].score(images))
    assert [line.loss for line in new.history] == [line.loss for line in fitted[ONEDNN].history]
    assert [line.loss for line in new.history] != [line.loss for line in fitted[PLAIN].history]


@needs_onednn
@pytest.mark.parametrize("name", [PLAIN, ONEDNN])
@pytest.mark.parametrize("outer", [PLAIN, ONEDNN])
def test_a_run_is_scored_by_its_arithmetic(name, outer, fitted, images, tmp_path):
    """Whatever the block in which it is scored, and read again."""
    detector = fitted[name]
    whole, heat, codes = detector.score_all(images), detector.heatmap(images[:3]), detector.encode(images)
    detector.save(tmp_path / "run")
    with computing(outer):
        loaded = Detector.load(tmp_path / "run")
        for other in (detector, loaded):
            assert other.environment.arithmetic == name
            for rule, scores in other.score_all(images).items():
                np.testing.assert_array_equal(scores, whole[rule])
            np.testing.assert_array_equal(other.heatmap(images[:3]), heat)
            np.testing.assert_array_equal(other.encode(images), codes)


@needs_onednn
def test_runs_say_so_in_a_format_that_older_versions_refuse(fitted, tmp_path):
    for name, version in ((PLAIN, 2), (ONEDNN, VERSION_WITH_ARITHMETIC)):
        fitted[name].save(tmp_path / name)
        config = read_json(tmp_path / name / "config.json")
        assert config["format_version"] == version
        assert config["environment"].get("arithmetic", PLAIN) == name
        assert ("arithmetic" in config["environment"]) == (name == ONEDNN)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"environment": {"arithmetic": "bf16"}}, "arithmetic 'bf16': must be one of plain, onednn"),
        ({"format_version": NEWEST + 1}, f"is newer than {NEWEST}"),
    ],
)
def test_a_run_of_an_unknown_arithmetic_is_refused(change, message, fitted, tmp_path):
    fitted[ONEDNN].save(tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    write_json(path, read_json(path) | change)
    with pytest.raises(BundleError, match=message):
        Detector.load(tmp_path / "run")


@needs_onednn
@pytest.mark.parametrize("name", [PLAIN, ONEDNN])
def test_a_resumed_training_keeps_its_arithmetic(name, parts, fitted, images, tmp_path):
    def stop(state: object) -> None:
        raise KeyboardInterrupt

    settings = {**SMALL, "neighbours": 2}
    with pytest.raises(KeyboardInterrupt), computing(name):
        Detector(**settings).fit(*parts, folder=tmp_path, on_epoch=stop)
    resumed = Detector(**settings).fit(*parts, folder=tmp_path, resume=True)
    assert resumed.environment.arithmetic == name
    np.testing.assert_array_equal(resumed.score(images), fitted[name].score(images))


def test_what_is_called_meanwhile_finds_all_as_it_was(parts, images):
    """Callbacks, and the images as they come."""
    before, seen = (setting(), torch.get_num_threads()), []

    def look(*_: object) -> None:
        seen.append(setting() == before[0])

    def stream() -> Iterator[np.ndarray]:
        for image in images[:3]:
            look()
            yield image[None]

    detector = Detector(**SMALL).fit(*parts, on_epoch=look, on_batch=look, on_scored=look)
    detector.score(stream(), on_scored=look)
    assert all(seen)
    assert len(seen) >= 8
    assert (setting(), torch.get_num_threads()) == before
