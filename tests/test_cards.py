"""What a person sees of an object: one short line in a terminal, a card in a notebook, every name as it is."""

from __future__ import annotations

import base64
import io
import pickle
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anomalae import Detector, cards, evaluate
from anomalae.datasets import Part
from anomalae.datasets.dataset import make_dataset
from anomalae.detectors import TableDetector
from anomalae.experiments import Run
from anomalae.network_kinds import MODELS
from anomalae.plugins import SCORES, VIEWS
from anomalae.runs.results import Comparison, write_evaluation

VOID = {"img", "br", "path", "circle", "polyline"}


class Read(HTMLParser):
    """The text of a page and its images; AssertionError where a tag is not closed in its place."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text, self.images = "", []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "src":
                content = base64.b64decode(value.removeprefix("data:image/png;base64,"))
                self.images.append(np.asarray(Image.open(io.BytesIO(content))))

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += f"{data} "


def points(page: str) -> np.ndarray:
    """The points of the curve on a page, in pixels: (N, 2)."""
    return np.array(
        [[float(value) for value in pair.split(",")] for pair in re.search('points="(.*?)"', page)[1].split()]
    )


@pytest.fixture(scope="module")
def split(digits):
    return digits.one_class(normal=[0], seed=0)


# --- one line ------------------------------------------------------------------------------------------------------


def test_a_data_set_in_one_line(digits, split):
    assert repr(digits) == (
        "<Dataset digits: 1258 train and 539 test images, classes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9>"
    )
    assert repr(split.train) == "<Part 79 images, class 0>"
    assert repr(split) == (
        "<OneClassSplit 79 train, 6 validation, 40 calibration and 539 test images; normal class 0; "
        "anomalous classes 1, 2, 3, 4, 5, 6, 7, 8, 9; seed 0>"
    )


def test_of_many_classes_the_first_are_named():
    labels = np.arange(47)
    assert repr(Part(np.zeros((47, 28, 28), np.uint8), labels)) == (
        "<Part 47 images, classes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …>"
    )


def test_a_detector_in_one_line(small, split):
    assert repr(Detector(model="vae", views=("normalised",), neighbours=5)) == (
        "<Detector dense vae of normalised + 5 neighbours, score elbo, not fitted>"
    )
    assert repr(small) == "<Detector dense ae, score bent, fitted on 79 images>"


def test_a_detector_of_tables_in_one_line():
    detector = TableDetector(model="vae", epochs=1)
    assert repr(detector) == "<TableDetector vae, score mse, not fitted>"
    detector.fit(np.random.default_rng(0).normal(size=(30, 4)))
    assert repr(detector) == "<TableDetector vae, score mse, fitted on 4 columns>"
    read = TableDetector.of_state(pickle.loads(pickle.dumps(detector.state())))
    assert repr(read) == repr(detector)


def test_an_evaluation_in_one_line():
    evaluation = evaluate([0.1, 0.4, 0.35, 0.8], [False, False, True, True], threshold=0.5)
    low, high = evaluation.roc_auc_interval
    assert repr(evaluation) == (
        f"<Evaluation ROC-AUC 0.7500 [{low:.4f}, {high:.4f}], AP 0.8333, FPR95 0.5000, "
        "50.0% detected and 0.0% false alarms at alpha 0.05, 2 normal and 2 anomalous images>"
    )
    assert repr(evaluate([0.1], [False])) == (
        "<Evaluation ROC-AUC -, AP -, FPR95 -, 1 normal and 0 anomalous images>"
    )


def test_a_run_in_one_line():
    assert repr(Run("runs/zero")) == "Run('runs/zero')"


def test_a_comparison_in_one_line():
    rows = [{"method": "anomalae"}, {"method": "KNN"}]
    assert repr(Comparison(rows, {"KNN": np.zeros(9999)})) == "<Comparison of anomalae, KNN>"


@pytest.mark.parametrize("registry", [SCORES, VIEWS, MODELS])
def test_parts_name_themselves_and_no_address(registry):
    for name in registry.ours():
        assert name in repr(registry[name])
        assert "0x" not in repr(registry[name])
        assert len(repr(registry[name])) < 320


# --- cards ---------------------------------------------------------------------------------------------------------


def test_a_data_set_shows_an_image_of_each_class(digits):
    read = Read(digits._repr_html_())
    assert "Data set digits" in read.text
    assert "1,258" in read.text
    assert len(read.images) == 10
    for name, image in zip(digits.classes, read.images, strict=True):
        assert any(np.array_equal(image, other) for other in digits.train.images[digits.train.labels == name])


def test_a_split_shows_the_first_images_of_each_part(split):
    read = Read(split._repr_html_())
    is_normal = split.test.labels == 0
    parts = [
        split.train.images[:10],
        split.validation.images[:10],
        split.calibration.images[:10],
        split.test.images[is_normal][:10],
        split.test.images[~is_normal][:10],
    ]
    np.testing.assert_array_equal(np.stack(read.images), np.concatenate(parts))
    assert "test, anomalous: 486 images" in read.text


def test_a_part_shows_its_first_images(split):
    np.testing.assert_array_equal(
        np.stack(Read(split.train._repr_html_()).images), split.train.images[: cards.MOST]
    )
    empty = Part(np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.int64))
    assert "0 images" in Read(empty._repr_html_()).text


def test_a_detector_shows_settings_data_threshold_and_the_course_of_its_training(small):
    page = small._repr_html_()
    read = Read(page)
    for words in (
        "dense ae (autoencoder)",
        "bent",
        "arrays",
        "79 training, 6 validation, 40 calibration",
        f"{small.threshold():.5g} at alpha 0.05",
    ):
        assert words in read.text
    assert len(points(page)) == len(small.history) == 2
    assert "svg" not in Read(Detector()._repr_html_()).tags


def test_of_one_epoch_too_there_is_a_card(split):
    detector = Detector(hidden=(8,), latent_dim=2, epochs=1).fit(split.train.images[:4])
    assert "none: too few calibration images at alpha 0.05" in Read(detector._repr_html_()).text


def test_an_evaluation_shows_curve_figures_and_classes():
    rng = np.random.default_rng(0)
    is_anomaly = np.arange(20000) % 2 == 1
    labels = np.where(is_anomaly, np.arange(20000) % 60, 0)
    evaluation = evaluate(rng.normal(size=20000) + is_anomaly, is_anomaly, labels, threshold=1.5)
    page = evaluation._repr_html_()
    read = Read(page)
    for words in (
        f"{evaluation.roc_auc:.4f}",
        f"{100 * evaluation.detection_rate:.1f}%",
        f"{evaluation.per_class['39'].roc_auc:.4f}",
        "20 of 30",
        "10,000 normal and 10,000 anomalous images",
    ):
        assert words in read.text
    assert len(page) < 40_000
    left, bottom = cards.MARGIN, cards.PLOT - cards.MARGIN + cards.TOP
    size = cards.PLOT - cards.MARGIN
    curve = points(page)
    assert curve[0].tolist() == [left, bottom]
    assert curve[-1].tolist() == [left + size, cards.TOP]
    assert (np.diff(curve[:, 0]) >= 0).all()
    assert (np.diff(curve[:, 1]) <= 0).all()
    area = np.trapezoid(bottom - curve[:, 1], curve[:, 0]) / size**2
    assert area == pytest.approx(evaluation.roc_auc, abs=0.005)
    dot = [float(value) for value in re.search('cx="(.*?)" cy="(.*?)"', page).groups()]
    expected = [left + size * evaluation.false_alarm_rate, bottom - size * evaluation.detection_rate]
    assert dot == pytest.approx(expected, abs=0.1)


def test_of_one_kind_of_image_there_is_no_curve():
    read = Read(evaluate([0.1, 0.2], [False, False])._repr_html_())
    assert "svg" not in read.tags
    assert "2 normal and 0 anomalous images" in read.text


def test_a_run_shows_what_its_folder_keeps(digits, small, tmp_path):
    small.save(tmp_path / "zero")
    run = Run(tmp_path / "zero")
    assert "test ROC-AUC" not in Read(run._repr_html_()).text
    evaluation = evaluate(small.score(digits.test.images), digits.test.labels != 0, digits.test.labels)
    write_evaluation(tmp_path / "zero", run.document(evaluation), evaluation)
    text = Read(run._repr_html_()).text
    assert "Run zero" in text
    assert Run(tmp_path / "gone")._repr_html_() is None
    assert f"{evaluation.roc_auc:.4f}" in text


# --- names from data -----------------------------------------------------------------------------------------------

EVIL = ['<script>alert("1")</script>', "a & 'b'", "half of a pair \udc80", "two\nlines"]


def marked(name: str) -> str:
    """A name as `printable` shows it."""
    return name.replace("\udc80", "\\udc80").replace("\n", "\\n")


def evil_objects() -> list[Any]:
    images = np.arange(4 * 784, dtype=np.uint32).astype(np.uint8).reshape(4, 28, 28)
    part = Part(images, np.array(EVIL))
    dataset = make_dataset(f"/data/{EVIL[0]}", part, part, tuple(EVIL), EVIL[1], False)
    scores = np.arange(4.0)
    return [dataset, part, evaluate(scores, [False, True, True, True], np.array(EVIL))]


def test_names_are_text_and_nothing_else():
    for thing in evil_objects():
        page = thing._repr_html_()
        page.encode()
        repr(thing).encode()
        assert "\n" not in repr(thing)
        assert "script" not in Read(page).tags
    text = Read(evil_objects()[1]._repr_html_()).text
    for name in EVIL:
        assert marked(name) in text


def test_a_long_name_is_cut_where_there_is_a_column_of_them():
    name = "n" * 300
    evaluation = evaluate([0.0, 1.0], [False, True], ["normal", name])
    assert name not in evaluation._repr_html_()


def test_a_flat_curve_is_drawn():
    page = cards.curve([1, 2, 3], [5.0, 5.0, 5.0], ("epoch", "loss"))
    assert np.isfinite(points(page)).all()
