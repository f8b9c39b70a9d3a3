"""What is compiled says what torch says, the same bits however rows are shared, and needs no place for its cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from anomalae.arithmetic import computing
from anomalae.models import bent
from anomalae.models import compiled as package
from anomalae.models.compiled import pairs as compiled
from anomalae.models.views import DESKEWED, NORMALISED, SETTLED


@pytest.fixture
def pairs():
    """Images to compare, those they are compared with, and which with which; ink up to the border, blank ones too."""
    random = np.random.default_rng(0)
    kept = np.where(random.random((20, 28, 28)) < 0.2, random.integers(0, 256, (20, 28, 28)), 0)
    kept[3:10, :8] = kept[3:10, 20:] = kept[3:10, :, :8] = kept[3:10, :, 20:] = kept[7] = 0
    kept[11] = 255
    images = random.random((11, 28, 28), dtype=np.float32) ** 3
    images[2, :, 4:], images[5] = 0, 0
    images[6:9] = np.roll(kept[4:7], (1, 1), (1, 2)) / np.float32(255)
    return images, kept.astype(np.uint8), random.integers(0, 20, (11, 6))


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_pairs_differ_as_in_torch(pairs):
    images, kept, likely = pairs
    as_tensors = torch.from_numpy(images)[:, None], torch.from_numpy(kept), torch.from_numpy(likely)
    terms = bent.terms(*as_tensors).numpy()
    np.testing.assert_allclose(compiled.terms(*pairs), terms, rtol=1e-5, atol=1e-5 * terms.max())
    for ours, theirs in zip(compiled.figures(*pairs), bent.figures(*as_tensors), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-9)


def test_images_are_searched_by_the_numbers_that_torch_has(pairs):
    images = pairs[0]
    numbers = compiled.edge_numbers(images)
    plain = bent.edge_numbers(torch.from_numpy(images)[:, None]).numpy()
    np.testing.assert_allclose(numbers, plain, rtol=1e-5, atol=1e-6)
    assert (numbers[5] == 0).all()


def test_figures_are_those_of_the_terms(pairs):
    total, squares = compiled.figures(*pairs)
    terms = compiled.terms(*pairs).astype(np.float64)
    np.testing.assert_allclose(total, terms.sum((2, 3)), rtol=1e-6)
    np.testing.assert_allclose(squares, (terms**2).sum((2, 3)), rtol=1e-6)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 16])
def test_a_pair_has_the_same_bits_however_rows_are_shared(pairs, threads, number):
    images, kept, likely = pairs
    threads(1)
    alone = [
        compiled.figures(images[row : row + 1], kept, likely[row : row + 1]) for row in range(len(images))
    ]
    threads(number)
    for figure, whole in enumerate(compiled.figures(*pairs)):
        np.testing.assert_array_equal(whole, np.concatenate([one[figure] for one in alone]))
    order = np.random.default_rng(1).permutation(len(images))
    np.testing.assert_array_equal(
        compiled.terms(images[order], kept, likely[order]), compiled.terms(*pairs)[order]
    )


def test_images_that_may_not_be_written_or_lie_apart_are_read(pairs):
    images, kept, likely = pairs
    locked = kept.copy()
    locked.flags.writeable = False
    apart = np.asfortranarray(images)
    for ours, theirs in zip(compiled.figures(apart, locked, likely), compiled.figures(*pairs), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_without_a_place_for_a_cache_it_is_compiled_each_time(tmp_path):
    """Compiled from a copy beside which nothing can be written, by a user whose home is none."""
    copy = tmp_path / "copied.py"
    copy.write_bytes(Path(package.__file__).read_bytes() + b"@compiled\ndef twice(x):\n    return 2 * x\n")
    # A file where the folder of a cache would be: this stops even a user who may write anywhere.
    for path in (tmp_path / "__pycache__", tmp_path / "home"):
        path.write_text("")
    code = "import copied; print(copied.twice(21))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home")}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("42", 0), done.stderr


def test_numba_is_not_imported_before_it_is_used():
    code = "import sys, anomalae.detectors.detector; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


VIEWS_IN_FRAMES = [DESKEWED, NORMALISED, SETTLED]


@pytest.fixture
def drawn(digits):
    """Digits, and what is none: noise, a blank image, ink in a corner, along an edge, everywhere."""
    odd = torch.zeros(6, 1, 28, 28)
    odd[0] = torch.from_numpy(np.random.default_rng(0).random((28, 28), dtype=np.float32) ** 4)
    odd[2, 0, 0, 0], odd[3, 0, 27, 5:], odd[4, 0, :, 27], odd[5] = 1, 0.5, 1, 1
    return torch.cat([torch.from_numpy(digits.train.images[:60, None]) / 255, odd])


@pytest.mark.parametrize("view", VIEWS_IN_FRAMES, ids=lambda view: view.name)
def test_views_see_what_they_see_in_torch(view, drawn):
    seen = view.source(drawn)
    # Of the two the compiled one is nearer to double precision.
    torch.testing.assert_close(seen, view.source(drawn.double()).float(), rtol=0, atol=5e-6)
    with computing("plain"):
        by_torch = view.source(drawn)
    torch.testing.assert_close(seen, by_torch, rtol=0, atol=1e-5)
    assert not torch.equal(seen, by_torch), "runs of before see by torch, to the last bit"


@pytest.mark.parametrize("view", VIEWS_IN_FRAMES, ids=lambda view: view.name)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_view_of_an_image_has_the_same_bits_however_rows_are_shared(view, drawn, threads, number):
    threads(number)
    whole = view.source(drawn)
    assert torch.equal(torch.cat([view.source(one) for one in drawn.split(1)]), whole)
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(drawn)))
    assert torch.equal(view.source(drawn[order]), whole[order])


@pytest.mark.parametrize("view", VIEWS_IN_FRAMES, ids=lambda view: view.name)
def test_what_is_not_compiled_for_is_seen_by_torch(view, drawn):
    assert view.source(drawn.double()).dtype == torch.float64
    followed = drawn.clone().requires_grad_()
    view.source(followed).sum().backward()
    assert followed.grad is not None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), -1.0])
def test_what_is_no_ink_is_read_nowhere_outside_the_image(value):
    images = torch.full((3, 1, 28, 28), value)
    images[1:, 0, 5:20] = 0.5
    for view in VIEWS_IN_FRAMES:
        assert view.source(images).shape == images.shape
