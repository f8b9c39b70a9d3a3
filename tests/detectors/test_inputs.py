"""A detector is trained on images in any form and scores them in any form, by the same way to canonical form."""

from __future__ import annotations

import json
import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from anomalae import Detector
from anomalae.detectors.judging import judge, write_heatmaps
from anomalae.errors import BundleError, ConfigError, ImageError, ImageWarning
from anomalae.images.inputs import read_inputs
from tests.conftest import SMALL


@pytest.fixture(scope="module")
def zeros(digits) -> np.ndarray:
    return digits.one_class(normal=[0], seed=0).train.images


@pytest.fixture(scope="module")
def large(zeros) -> np.ndarray:
    """Zeros of 56 x 56, dark on light paper."""
    return 255 - zeros.repeat(2, axis=1).repeat(2, axis=2)


@pytest.fixture(scope="module")
def resizing(large) -> Detector:
    with pytest.warns(ImageWarning):
        return Detector(**SMALL).fit(large, preprocess="resize")


def loader(images: np.ndarray, size: int = 16) -> DataLoader:
    """As torchvision's MNIST with ToTensor comes: floats, and labels."""
    floats = torch.from_numpy(images[:, None].astype(np.float32) / np.float32(255))
    return DataLoader(TensorDataset(floats, torch.zeros(len(images))), batch_size=size)


def pictures(images: np.ndarray) -> list[Image.Image]:
    return [Image.fromarray(image) for image in images]


FORMS = {"loader": loader, "PIL images": pictures, "iterator": iter, "list": list, "tensor": torch.from_numpy}


@pytest.mark.parametrize("form", FORMS)
def test_trained_on_any_form_it_is_the_same(zeros, images, form):
    expected = Detector(**SMALL).fit(zeros).score(images)
    np.testing.assert_array_equal(Detector(**SMALL).fit(FORMS[form](zeros)).score(images), expected)


def test_held_out_images_come_in_any_form(zeros, images):
    expected = Detector(**SMALL).fit(zeros[:60], zeros[60:70], zeros[70:])
    found = Detector(**SMALL).fit(loader(zeros[:60]), iter(zeros[60:70]), pictures(zeros[70:]))
    np.testing.assert_array_equal(found.calibration_scores(), expected.calibration_scores())
    assert found.data == expected.data
    with pytest.raises(ImageError, match=r"^calibration images\[0\]: NoneType"):
        Detector(**SMALL).fit(zeros, None, [None])


@pytest.mark.parametrize("method", ["score", "p_values", "flags", "heatmap", "encode", "reconstruct"])
@pytest.mark.parametrize("form", FORMS)
def test_every_method_takes_any_form(small, images, method, form):
    call = getattr(small, method)
    np.testing.assert_allclose(call(FORMS[form](images)), call(images), rtol=1e-4, atol=1e-6)


def test_all_scores_of_an_iterator_that_is_read_once(small, images):
    expected = small.score_all(images)
    for rule, scores in small.score_all(iter(images)).items():
        np.testing.assert_allclose(scores, expected[rule], rtol=1e-4, atol=1e-6)
    by_member = small.score_members(loader(images))
    np.testing.assert_allclose(by_member["mse"]["settled"], expected["mse"], rtol=1e-4)


def test_one_image_has_one_score(small, images, tmp_path):
    expected = small.score(images[:1])
    Image.fromarray(images[0]).save(tmp_path / "one.png")
    for one in (images[0], torch.from_numpy(images[0]), Image.fromarray(images[0]), tmp_path / "one.png"):
        np.testing.assert_allclose(small.score(one), expected, rtol=1e-5)


def test_a_loader_is_streamed(small, images):
    def batches(count):
        for _ in range(count):
            yield np.tile(images[:32], (32, 1, 1)), 0

    def peak(count):
        tracemalloc.start()
        scores = small.score(batches(count))
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert scores.shape == (1024 * count,)
        return taken

    peak(1)
    few, many = peak(2), peak(12)
    # Ten batches more, of 800 kB as uint8, would take 8 MB; their scores take 80 kB.
    assert many - few < 1e6
    done = []
    small.score(batches(3), on_scored=done.append)
    assert done == [1024, 2048, 3072]


def test_codes_are_decoded_a_batch_at_a_time(small, zeros):
    codes = np.random.default_rng(0).normal(size=(1030, 8))
    decoded = small.decode(codes)
    assert decoded.shape == (1030, 28, 28)
    np.testing.assert_allclose(decoded[1020:], small.decode(codes[1020:]), atol=1e-6)
    vae = Detector(**SMALL, model="vae", samples=1).fit(zeros)
    generated = vae.generate(1030, seed=2)
    assert generated.shape == (1030, 28, 28)
    np.testing.assert_allclose(generated[:3], vae.generate(3, seed=2), atol=1e-6)


def test_other_sizes_are_refused_with_the_way(small, large):
    for call in (small.score, small.heatmap, Detector(**SMALL).fit):
        with pytest.raises(ImageError, match=r"preprocess='resize'"):
            call(large)
    with pytest.raises(ConfigError, match="unknown preprocess 'stretch'"):
        Detector(**SMALL).fit(large, preprocess="stretch")
    with pytest.raises(ConfigError, match="unknown polarity 'grey'"):
        Detector(**SMALL).fit(large, preprocess="resize", polarity="grey")


class TestPreprocess:
    def test_it_is_said(self, large):
        with pytest.warns(
            ImageWarning, match=r"^training images of shape \(56, 56\) were brought to 28 x 28 by"
        ) as said:
            Detector(**SMALL).fit(large, preprocess="resize")
        assert len(said) == 1
        assert said[0].filename == __file__
        mixed = [large[0], *large[:, :50], *large[..., None].repeat(3, 3)]
        with pytest.warns(
            ImageWarning, match=r"of 3 shapes, as \(50, 56\) were brought to 28 x 28 and grey by"
        ):
            Detector(**SMALL).fit(mixed, preprocess="resize")

    def test_nothing_is_said_of_images_that_have_that_size(self, zeros):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert Detector(**SMALL).fit(zeros, preprocess="resize").data.arrays == "grey"

    def test_images_are_scored_by_the_way_they_were_trained_by(self, resizing, large, zeros):
        canonical = Detector(**SMALL).fit(zeros)
        # The same digits, larger and dark on light, are the same images but for the resampling.
        assert np.corrcoef(resizing.score(large), canonical.score(zeros))[0, 1] > 0.9
        np.testing.assert_allclose(resizing.score(large[3]), resizing.score(large)[3], rtol=1e-4)
        np.testing.assert_allclose(resizing.score(pictures(large)), resizing.score(large), rtol=1e-4)
        colour = np.repeat(large[:, None], 3, 1)
        np.testing.assert_allclose(resizing.score(DataLoader(colour)), resizing.score(large), rtol=1e-4)
        assert resizing.reconstruct(large).shape == (len(large), 28, 28)

    def test_it_is_kept(self, resizing, large, tmp_path):
        resizing.save(tmp_path / "run")
        loaded = Detector.load(tmp_path / "run")
        assert (loaded.data.preprocess, loaded.data.polarity, loaded.data.arrays) == (
            "resize",
            "auto",
            "grey",
        )
        np.testing.assert_array_equal(loaded.score(large), resizing.score(large))

    def test_colour_is_kept_too(self, large, tmp_path):
        colour = np.repeat(large[:, None], 3, 1)
        with pytest.warns(ImageWarning, match=r"shape \(56, 56, 3\) were brought to 28 x 28 and grey by"):
            detector = Detector(**SMALL).fit(colour, preprocess="resize")
        assert detector.data.arrays == "colour"
        assert detector.score(colour[0]).shape == (1,)
        assert detector.score(colour[:3]).shape == (3,)

    def test_files_are_judged_as_they_are_scored(self, resizing, large, tmp_path):
        (tmp_path / "images").mkdir()
        for number, image in enumerate(large[:5]):
            Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
        inputs = list(read_inputs([tmp_path / "images"], resizing.data.preprocess, resizing.data.polarity))
        rows = judge(resizing, inputs).rows
        scores = resizing.score(tmp_path / "images")
        np.testing.assert_allclose([row.score for row in rows], scores, rtol=1e-6)
        assert len(write_heatmaps(tmp_path / "maps", resizing, inputs)) == 5

    def test_ink_that_is_lost_is_told_with_the_index(self, zeros, large):
        with pytest.warns(ImageWarning):
            detector = Detector(**SMALL).fit(
                np.pad(large, ((0, 0), (9, 9), (9, 9)), constant_values=255),
                preprocess="mnist",
                polarity="dark",
            )
        scans = np.pad(large[:3], ((0, 0), (9, 9), (9, 9)), constant_values=255)
        assert detector.score(scans).shape == (3,)
        scans[1] = 255 - scans[1]
        with pytest.raises(
            ImageError, match=r"images\[1\]: it turned blank though it has ink, light on dark"
        ):
            detector.score(scans)
        # A sheet without ink has a score.
        scans[1] = 255
        assert np.isfinite(detector.score(scans)).all()

    def test_what_is_canonical_already_is_not_prepared_again(self, zeros, tmp_path):
        # The polarity `dark` would turn a canonical image over.
        detector = Detector(**SMALL).fit(255 - zeros, preprocess="resize", polarity="dark")
        np.save(tmp_path / "rows.npy", 255 - zeros[:5])
        inputs = list(read_inputs([tmp_path / "rows.npy"], "resize", "dark"))
        np.testing.assert_array_equal(inputs[0].image, zeros[0])
        expected = detector.score(255 - zeros[:5])
        np.testing.assert_allclose([row.score for row in judge(detector, inputs).rows], expected, rtol=1e-6)

    def test_a_detector_trained_again_without_it_does_without(self, zeros, large):
        detector = Detector(**SMALL)
        with pytest.warns(ImageWarning):
            detector.fit(large, preprocess="resize")
        for again in ({}, {"data": detector.data}):
            assert detector.fit(zeros, **again).data.arrays == ""
        with pytest.raises(ImageError, match="preprocess='resize'"):
            detector.score(large)

    def test_runs_without_it_stay_as_older_versions_read_them(self, small, tmp_path):
        small.save(tmp_path / "run")
        assert "arrays" not in json.loads((tmp_path / "run" / "config.json").read_text())["data"]

    def test_a_strange_value_is_refused(self, resizing, tmp_path):
        resizing.save(tmp_path / "run")
        config = json.loads((tmp_path / "run" / "config.json").read_text())
        config["data"]["arrays"] = "purple"
        (tmp_path / "run" / "config.json").write_text(json.dumps(config))
        with pytest.raises(BundleError, match=r"data\.arrays 'purple'"):
            Detector.load(tmp_path / "run")
