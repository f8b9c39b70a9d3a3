"""Figures show the numbers of the evaluation and nothing else, hold for odd data, and are the same bytes twice.

Also what they rest on: the kept evaluation read back, picked examples.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest

from anomalae import files, plots, runs
from anomalae.detectors.detector import Detector
from anomalae.errors import BundleError, ConfigError, DataError
from anomalae.evaluation import examples
from anomalae.evaluation.conformal import false_alarm_band
from anomalae.evaluation.intervals import roc_band
from anomalae.evaluation.metrics import Evaluation, evaluate
from anomalae.plots import style
from anomalae.reports.pages import figures as report_figures
from anomalae.runs import results
from tests.cli import QUICK, fails, ok


def sample(n: int = 300, m: int = 500, distance: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(size=n), rng.normal(distance, 1, m)])
    return scores, np.arange(n + m) >= n


@pytest.fixture(scope="module")
def found() -> Evaluation:
    """Scores of three normal and four anomalous classes, with p-values and a threshold."""
    scores, truth = sample()
    labels = np.where(truth, 3 + np.arange(800) % 4, np.arange(800) % 3)
    p_values = np.round(np.random.default_rng(1).uniform(0.01, 1, 800), 2)
    return evaluate(scores, truth, labels, p_values=p_values, alpha=0.1, threshold=1.3)


@pytest.fixture(scope="module")
def others(found: Evaluation) -> dict[str, Evaluation]:
    rng = np.random.default_rng(2)
    return {
        name: evaluate(found.scores + rng.normal(0, spread, 800), found.is_anomaly)
        for name, spread in (("lof", 0.3), ("isolation forest", 1), ("autoencoder (fair)", 3))
    }


class Line(NamedTuple):
    epoch: int
    loss: float
    validation_loss: float | None
    learning_rate: float


HISTORY = [Line(i, 900.0 / i, 800.0 / i, 0.001) for i in range(1, 31)]


# --- examples -------------------------------------------------------------------------------------------------------


def test_examples_by_hand():
    scores = [5, 1, 9, 2, 2, 7, 3, 9]
    picked = examples.pick(evaluate(scores, [0, 0, 1, 0, 1, 0, 1, 1]), 3)
    assert {name: which.tolist() for name, which in picked.items()} == {
        "most_anomalous": [2, 7, 5],
        "misses": [4, 6, 2],
        "false_alarms": [5, 0, 3],
        "typical": [0, 3, 1],  # of 1, 2, 5, 7 the median is 3.5
    }
    assert picked.keys() == examples.TITLES.keys()


def test_examples_of_one_kind_and_of_few():
    picked = examples.pick(evaluate([2.0, 1.0], [False, False]), 5)
    assert picked["misses"].size == 0
    assert picked["false_alarms"].tolist() == picked["most_anomalous"].tolist() == [0, 1]
    assert examples.pick(evaluate([2.0], [True]), 1)["typical"].size == 0
    with pytest.raises(ConfigError, match="count 0"):
        examples.pick(evaluate([2.0], [True]), 0)


# --- the numbers in the figures -------------------------------------------------------------------------------------


def curve(axes, start: str) -> np.ndarray:
    """The points of the line whose legend text begins so, (N, 2)."""
    (line,) = [line for line in axes.lines if str(line.get_label()).startswith(start)]
    return np.column_stack(line.get_data())


def texts(figure) -> str:
    return "\n".join(text.get_text() for legend in figure.legends for text in legend.get_texts())


def test_roc_shows_the_curve_the_point_and_the_areas(found: Evaluation, others: dict[str, Evaluation]):
    figure = plots.roc(found, baselines=others, title="a run")
    (axes,) = figure.axes
    assert np.array_equal(curve(axes, "this run"), np.column_stack(found.roc_curve()[:2]))
    assert curve(axes, "threshold").tolist() == [[found.false_alarm_rate, found.detection_rate]]
    low, high = found.roc_auc_interval or (0, 0)
    assert f"this run: AUC {found.roc_auc:.4f}, 95% interval {low:.4f} to {high:.4f}" in texts(figure)
    assert f"{100 * found.false_alarm_rate:.1f}% false alarms" in texts(figure)
    for name, one in others.items():
        assert f"{name}: AUC {one.roc_auc:.4f}" in texts(figure)
        fpr, tpr = curve(axes, name).T
        grid = np.linspace(0, 1, 50)
        assert np.interp(grid, fpr, tpr) == pytest.approx(np.interp(grid, *one.roc_curve()[:2]), abs=0.005)
    (band,) = axes.collections
    lo, hi = roc_band(found.scores, found.is_anomaly, np.linspace(0, 1, 64) ** 2)
    assert band.get_datalim(axes.transData).y1 == pytest.approx(hi.max())
    assert band.get_datalim(axes.transData).y0 == pytest.approx(lo.min())


def test_a_baseline_of_the_run_s_name_does_not_take_its_curve(
    found: Evaluation, others: dict[str, Evaluation]
):
    figure = plots.roc(found, baselines={"x": others["lof"]}, name="x")
    assert max(len(line.get_xdata()) for line in figure.axes[0].lines) == len(found.roc_curve()[0])


def test_the_close_up_never_hides_a_curve(found: Evaluation, others: dict[str, Evaluation]):
    sizes = []
    for one, more in (
        (evaluate(*sample(distance=4)), {}),
        (evaluate(*sample(distance=4)), {"worse": found}),
        (found, others),
        (evaluate(*sample(distance=0)), {}),
    ):
        (axes,) = plots.roc(one, baselines=more).axes
        sizes.append([round(frame["box"][2], 3) for frame in style.frames(axes.figure)[1:]])
        if axes.child_axes:
            (ground,) = axes.patches
            left, top = ground.get_x(), ground.get_y() + ground.get_height()
            for each in (one, *more.values()):
                fpr, tpr, _ = each.roc_curve()
                assert np.interp(left, fpr, tpr) > top
    assert [len(found) for found in sizes] == [1, 1, 0, 0] or [len(found) for found in sizes] == [1, 1, 1, 0]


def test_the_operating_point_is_not_drawn_beside_the_close_up():
    scores, truth = sample(distance=4)
    (axes,) = plots.roc(evaluate(scores, truth, threshold=4.5)).axes  # 30% detected: below the corner
    assert any(str(line.get_label()).startswith("threshold") for line in axes.lines)
    assert not any(str(line.get_label()).startswith("threshold") for line in axes.child_axes[0].lines)


def test_pr_shows_precision_prevalence_and_the_point(found: Evaluation, others: dict[str, Evaluation]):
    figure = plots.pr(found, baselines=others)
    (axes,) = figure.axes
    precision, recall, _ = found.pr_curve()
    assert np.array_equal(curve(axes, "this run"), np.column_stack([recall, precision]))
    assert curve(axes, "chance")[:, 1].tolist() == [found.prevalence] * 2
    ((x, y),) = curve(axes, "threshold")
    assert x == found.detection_rate
    assert y == pytest.approx((found.is_anomaly & found.flagged).sum() / found.flagged.sum())
    assert f"average precision {found.average_precision:.4f}" in texts(figure)
    assert axes.get_ylim()[0] <= found.prevalence


def test_scores_shows_each_kind_as_shares_and_the_threshold(found: Evaluation):
    figure = plots.scores(found, rule="smooth")
    (axes,) = figure.axes
    outlines = [patch for patch in axes.patches if not patch.get_fill()]
    for patch, kind in zip(outlines, (~found.is_anomaly, found.is_anomaly), strict=True):
        heights, edges, _ = patch.get_data()
        assert heights.sum() == pytest.approx(100)
        assert heights == pytest.approx(100 * np.histogram(found.scores[kind], edges)[0] / kind.sum())
    assert curve(axes, "threshold")[0, 0] == found.threshold
    assert f"300 normal images, {100 * found.false_alarm_rate:.1f}% flagged" in texts(figure)
    assert "score smooth" in axes.get_xlabel()


@pytest.mark.parametrize(("spread", "scale"), [(0.1, "linear"), (1.5, "log")])
def test_the_axis_of_scores_is_logarithmic_where_they_span_much(spread: float, scale: str):
    scores, truth = sample()
    figure = plots.scores(evaluate(np.exp(spread * scores), truth, threshold=1.0))
    assert figure.axes[0].get_xscale() == scale
    assert figure.axes[0].get_xlim()[0] > 0
    figure = plots.scores(evaluate(np.exp(spread * scores), truth, threshold=-1.0))
    assert figure.axes[0].get_xscale() == "linear"


@pytest.mark.parametrize("n_calibration", [60, 600])
def test_calibration_shows_the_distribution_of_p_values_and_its_band(found: Evaluation, n_calibration: int):
    figure = plots.calibration(found, n_calibration=n_calibration)
    p_values = found.p_values[~found.is_anomaly]
    for axes in figure.axes:
        x, y = curve(axes, "300 normal").T
        for alpha in (0.05, 0.1, 0.5):
            assert y[np.searchsorted(x, alpha, side="right") - 1] == (p_values <= alpha).mean()
        ((at, rate),) = curve(axes, "at alpha")
        assert (at, rate) == (found.alpha, found.false_alarm_rate)
        (band,) = axes.collections
        outline = band.get_paths()[0]
        for alpha in (0.05, 0.0823, 0.5, 0.77):  # in whole steps, as thresholds go
            low, high = false_alarm_band(n_calibration, 300, alpha)
            step = np.floor(alpha * (n_calibration + 1)) / (n_calibration + 1)
            just = step + 1e-6
            assert outline.contains_point((just, low + 0.005))
            assert outline.contains_point((just, high - 0.005))
            assert not outline.contains_point((just, low - 0.005))
            assert not outline.contains_point((just, high + 0.005))


def test_classes_shows_areas_intervals_and_shares(found: Evaluation):
    figure = plots.classes(found)
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == [
        "0 (normal)", "1 (normal)", "2 (normal)", "3", "4", "5", "6",
    ]  # fmt: skip
    intervals = [tuple(line.get_xdata()) for line in left.lines if len(line.get_xdata()) == 2]
    assert intervals == [one.roc_auc_interval for one in found.per_class.values()]
    areas = [line.get_xdata()[0] for line in left.lines if len(line.get_xdata()) == 1]
    assert areas == [one.roc_auc for one in found.per_class.values()]
    for bar, name in zip(right.patches, range(7), strict=True):
        assert bar.get_width() == pytest.approx(100 * found.flagged[found.labels == name].mean())


def test_of_many_classes_the_hardest_are_drawn():
    scores, truth = sample()
    names = np.where(truth, np.arange(800) % 60, -1)
    scores[names == 13] += 50
    figure = plots.classes(evaluate(scores, truth, names, threshold=1.0))
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(shown) == 40
    assert shown[0] == "-1 (normal)"
    assert "13" not in shown
    assert "21 classes with higher ROC-AUC are not shown" in figure.get_supxlabel()


def test_matrix_writes_its_numbers():
    values = np.array([[np.nan, 0.98765, 1.0], [0.5, np.nan, 0.9996]])
    figure = plots.matrix(values, [0, 1], ["a", "b", "c"])
    assert [text.get_text() for text in figure.axes[0].texts] == [".988", "1", ".500", "1"]
    with pytest.raises(DataError, match="shape"):
        plots.matrix(values, [0], [1, 2, 3])
    with pytest.raises(DataError, match="no number"):
        plots.matrix([[np.nan]], [0], [0])


def test_history_shows_every_epoch():
    figure = plots.history(HISTORY, unit="nats")
    upper, lower = figure.axes
    assert curve(upper, "training")[:, 1].tolist() == [line.loss for line in HISTORY]
    assert curve(upper, "validation")[:, 1].tolist() == [line.validation_loss for line in HISTORY]
    assert upper.get_yscale() == "log"
    assert lower.lines[0].get_ydata().tolist() == [0.001] * 30
    assert "nats" in upper.get_ylabel()
    alone = plots.history([Line(1, -5.0, None, 0.1)])
    assert len(alone.axes[0].lines) == 1
    with pytest.raises(DataError, match="no epoch"):
        plots.history([])


def test_the_principal_plane_is_that_of_the_covariance():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(200, 6)) * [5, 1, 3, 0.1, 0.1, 0.1] + 7
    points, names = plots.principal_plane(codes)
    values = np.sort(np.linalg.eigvalsh(np.cov(codes.T, bias=True)))[::-1]
    assert points.var(axis=0) == pytest.approx(values[:2])
    assert np.cov(points.T)[0, 1] == pytest.approx(0, abs=1e-9)
    assert f"1: {100 * values[0] / values.sum():.1f}% of the variance" in names[0]
    assert np.array_equal(plots.principal_plane(codes[:, :2])[0], codes[:, :2])
    assert plots.principal_plane(np.ones((3, 4)))[0].tolist() == [[0, 0]] * 3
    with pytest.raises(DataError, match="codes"):
        plots.principal_plane([[np.nan]])


def test_latent_refuses_what_does_not_fit():
    for points, labels, scores in (
        (np.zeros((3, 3)), [1, 2, 3], None),
        (np.zeros((0, 2)), [], None),
        (np.zeros((3, 2)), [1, 2], None),
        (np.zeros((3, 2)), [1, 2, 3], [1.0]),
        (np.full((3, 2), np.nan), [1, 2, 3], None),
    ):
        with pytest.raises(DataError, match="shape"):
            plots.latent(points, labels, scores=scores)


def test_reconstructions_refuses_what_does_not_fit():
    images = np.zeros((2, 28, 28))
    for count, captions in ((2, ["a"]), (0, [])):
        with pytest.raises(DataError, match="as many and at least 1"):
            plots.reconstructions(images[:count], images[:count], images[:count], captions, scale=1)
    with pytest.raises(DataError, match="at least 1"):
        plots.samples(images[:0])


# --- one kind of image, one image, nothing to calibrate with --------------------------------------------------------


def test_one_kind_has_no_curves_but_scores_and_calibration():
    one = evaluate([1.0, 2.0], [False, False], ["a", "b"], p_values=[0.5, 0.1], threshold=1.5)
    for draw in (plots.roc, plots.pr):
        with pytest.raises(DataError, match="0 anomalous and 2 normal"):
            draw(one)
    plots.scores(one)  # which draws it, to settle its layout
    plots.calibration(one, n_calibration=9)
    plots.classes(one)
    anomalies = evaluate([1.0, 2.0], [True, True], ["a", "b"], p_values=[0.5, 0.1], threshold=1.5)
    plots.scores(anomalies)
    plots.classes(anomalies)
    with pytest.raises(DataError, match="no normal images"):
        plots.calibration(anomalies, n_calibration=9)


def test_a_single_image_and_scores_that_are_all_the_same():
    single = evaluate([0.0], [False], ["a"], p_values=[1.0])
    plots.scores(single)
    plots.calibration(single, n_calibration=1)
    constant = evaluate(np.ones(6), np.arange(6) > 2, np.arange(6), p_values=np.ones(6), threshold=1.0)
    for draw in (plots.roc, plots.pr, plots.scores, plots.classes):
        draw(constant)
    plots.calibration(constant, n_calibration=500)


def test_what_is_missing_is_said():
    bare = evaluate([1.0, 2.0], [False, True])
    plots.roc(bare)
    plots.scores(bare)
    with pytest.raises(DataError, match="no p-values"):
        plots.calibration(bare, n_calibration=9)
    with pytest.raises(DataError, match="no labels"):
        plots.classes(bare)
    with pytest.raises(DataError, match="one kind of image and no threshold"):
        plots.classes(evaluate([1.0], [False], ["a"]))
    with pytest.raises(ConfigError, match="n_calibration 0"):
        plots.calibration(evaluate([1.0], [False], p_values=[1.0]), n_calibration=0)


# --- how they look --------------------------------------------------------------------------------------------------


def pictures(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return images, rng.uniform(size=(count, 28, 28)), rng.normal(size=(count, 28, 28))


@pytest.fixture(scope="module")
def figures(found: Evaluation, others: dict[str, Evaluation]) -> dict[str, object]:
    rng = np.random.default_rng(0)
    names = np.array([f"a class with a long name, the {i}th" for i in range(14)])[np.arange(200) % 14]
    table = rng.uniform(0.5, 1, (10, 10))
    captions = ["class 3\nscore 0.1234\np 0.0017\nnot flagged"] * 10
    groups = {"Highest scores": range(8), "Misses": [8, 9]}
    return {
        "roc": plots.roc(found, baselines=others, title="mnist-3-ae: ROC curve"),
        "pr": plots.pr(found, baselines=others, title="mnist-3-ae"),
        "scores": plots.scores(found, rule="smooth", title="mnist-3-ae"),
        "calibration": plots.calibration(found, n_calibration=600, title="mnist-3-ae"),
        "classes": plots.classes(found, title="mnist-3-ae"),
        "latent": plots.latent(rng.normal(size=(200, 2)), names, scores=np.ones(200), title="mnist-3-ae"),
        "line": plots.latent(rng.normal(size=(200, 1)), names, scores=rng.normal(size=200)),
        "history": plots.history(HISTORY, title="mnist-3-ae"),
        "reconstructions": plots.reconstructions(*pictures(10), captions, scale=1, title="x", groups=groups),
        "samples": plots.samples(pictures(5)[1], title="x"),
        "matrix": plots.matrix(table, range(10), range(10), title="digits"),
        "walk": plots.walk(
            rng.uniform(size=(2, 5, 28, 28)), ["unit 1", "unit 2"], range(5), title="x", note="a note"
        ),
        "strip": plots.strip(pictures(5)[1], ["A\n0.123"] * 5, title="x", note="a note " * 20, columns=2),
    }


def test_no_text_lies_on_another_or_leaves_the_figure(figures: dict, monkeypatch: pytest.MonkeyPatch):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    drawn: list[Text] = []
    plain = Text.draw
    monkeypatch.setattr(Text, "draw", lambda self, renderer: (drawn.append(self), plain(self, renderer))[1])
    for name, figure in figures.items():
        drawn.clear()
        renderer = FigureCanvasAgg(figure).get_renderer()
        style.styled(figure.draw)(renderer)
        shown = [text for text in drawn if text.get_visible() and text.get_text().strip()]
        assert shown or name == "samples"
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in shown]
        for text, box in boxes:
            assert min(box.x0, box.y0) >= -1, (name, text)
            assert (box.max <= figure.bbox.max + 1).all(), (name, text)
        for (text, box), (other, another) in itertools.combinations(boxes, 2):
            across = min(box.x1, another.x1) - max(box.x0, another.x0)
            down = min(box.y1, another.y1) - max(box.y0, another.y0)
            assert across <= 1 or down <= 1.5, (name, text, other)


def contrast(colour: str, ground: str) -> float:
    """WCAG's contrast ratio."""

    def luminance(hexes: str) -> float:
        parts = [int(hexes[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    bright, dark = sorted([luminance(colour), luminance(ground)], reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_colours_show_on_light_and_on_dark():
    for text in (style.INK, style.MUTED):
        assert contrast(text, style.PAPER) >= 4.5
    drawn = [style.NORMAL, style.ANOMALY, style.MODEL, *(colour for colour, _ in style.BASELINES)]
    for colour in drawn:
        assert contrast(colour, style.PAPER) >= 3, colour
        assert contrast(colour, "#14171a") >= 3, colour
    kept_apart = [
        style.INK,
        style.MUTED,
        style.GRID,
        style.PAPER,
        *drawn,
        *style.CLASSES,
    ]
    assert len(set(kept_apart)) == len(kept_apart)
    for colour in style.CLASSES:
        assert min(contrast(colour, style.PAPER), contrast(colour, "#14171a")) >= 2, colour


def test_an_svg_stands_alone_and_is_the_same_twice(
    found: Evaluation, others: dict[str, Evaluation], figures: dict
):
    again = {"roc": plots.roc(found, baselines=others, title="mnist-3-ae: ROC curve")}
    for name, figure in figures.items():
        text = plots.svg(figure, name)
        assert text == plots.svg(again.get(name, figure), name)
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "<text" in text or name == "samples"
        assert not re.search(r"""(href|src)=["'](?!#|data:image/png;base64)""", text)
        assert "DOCTYPE" not in text
        assert "metadata" not in text
        assert set(re.findall(r'\bid="([^"]*)"', text)) == set(re.findall(rf'\bid="({name}-[^"]*)"', text))
        used = set(re.findall(r"url\(#([^)]*)\)", text)) | set(re.findall(r'href="#([^"]*)"', text))
        assert used <= set(re.findall(r'\bid="([^"]*)"', text))
    with pytest.raises(ConfigError, match="name"):
        plots.svg(figures["roc"], "a b")


def test_files_are_the_same_twice_and_whole(tmp_path: Path, found: Evaluation):
    for suffix, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("PDF", b"%PDF")):
        written = []
        for place in ("a", "b"):
            path = tmp_path / f"{place}.{suffix}"
            plots.save(plots.scores(found, title="x"), path)
            written.append(path.read_bytes())
        assert written[0] == written[1]
        assert written[0].startswith(start)
    with pytest.raises(ConfigError, match=r"the suffix must be one of \.png, \.svg, \.pdf"):
        plots.save(plots.scores(found), tmp_path / "a.gif")
    with pytest.raises(BundleError, match="cannot be written"):
        plots.save(plots.scores(found), tmp_path / "none" / "a.png")


def test_names_from_data_are_text(found: Evaluation):
    names = np.where(found.is_anomaly, "<script>$x^2$</script>", "line\nbreak & \x07")
    text = plots.svg(plots.classes(evaluate(found.scores, found.is_anomaly, names, threshold=1.0)))
    shown = [
        "".join(one.itertext()) for one in ElementTree.fromstring(text).iter() if one.tag.endswith("}text")
    ]
    assert "<script>$x^2$</script>" in shown
    assert "line\\nbreak & \\x07 (normal)" in shown


def test_names_that_look_like_marks_of_an_svg_stay_what_they_are(found: Evaluation):
    name = '#ffffff id="x url(#q'
    labels = np.where(found.is_anomaly, name, "\u65e5\u672c\u8a9e")  # which the font lacks: no warning
    text = report_figures.paint(
        plots.svg(plots.classes(evaluate(found.scores, found.is_anomaly, labels)), "one")
    )
    shown = [
        "".join(one.itertext())
        for one in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert name in shown
    assert "var(--ink)" in text
    assert 'id="one-figure_1"' in text
    assert "#1f2329" not in text


def test_any_script_is_written_without_a_word(
    tmp_path: Path, found: Evaluation, capfd: pytest.CaptureFixture[str]
):
    drawn = plots.scores(found, title="\u65e5\u672c\u8a9e")
    for suffix in style.FORMATS:
        plots.save(drawn, tmp_path / f"a.{suffix}")
    assert "\u65e5\u672c\u8a9e" in (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert capfd.readouterr() == ("", "")


def test_frames_say_where_a_point_is(found: Evaluation):
    figure = plots.scores(found)
    (frame,) = style.frames(figure)
    axes = figure.axes[0]
    x, y = axes.transData.transform((1.0, 2.0)) / figure.bbox.size
    left, top, width, height = frame["box"]
    assert left + width * (1 - frame["x"][0]) / np.diff(frame["x"])[0] == pytest.approx(x)
    assert top + height * (1 - (2 - frame["y"][0]) / np.diff(frame["y"])[0]) == pytest.approx(1 - y)
    assert not frame["log"]


def test_importing_is_cheap_and_nothing_is_global():
    code = (
        "import sys; from anomalae import plots; heavy = {'matplotlib', 'torch', 'sklearn', 'scipy', 'pandas'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules);"
        "import matplotlib; before = matplotlib.rcParams.copy();"
        "plots.svg(plots.matrix([[0.5]], ['a'], ['b']));"
        "assert not {'matplotlib.pyplot', 'torch'} & set(sys.modules), 'pyplot';"
        "changed = [key for key in before if before._get(key) != matplotlib.rcParams._get(key)];"
        "assert not changed, changed"
    )
    subprocess.run([sys.executable, "-P", "-W", "error", "-c", code], check=True)


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    ok("train", *QUICK, "--normal", "0", "--runs-dir", folder, "--name", "zero", "--quiet")
    ok("train", *QUICK, "--normal", "0", "--runs-dir", folder, "--name", "vae", "--model", "vae", "--quiet")
    return folder


def test_plot_evaluates_first_and_draws_every_figure(runs_dir: Path):
    (runs_dir / "zero" / runs.EVALUATION).unlink()
    first = ok("plot", "roc", "--run", "zero", "--runs-dir", runs_dir, "-o", "roc.png")
    assert "zero is not evaluated yet" in first.stderr
    assert first.stdout == "roc of zero: roc.png\n"
    assert results.read_evaluation(runs_dir / "zero") is not None
    for figure in (
        "pr",
        "scores",
        "calibration",
        "classes",
        "latent",
        "reconstructions",
        "history",
        "traverse",
    ):
        done = ok("plot", figure, "--run", "zero", "--runs-dir", runs_dir, "-o", f"{figure}.svg", "--quiet")
        assert done.output == ""
        assert "zero" in Path(f"{figure}.svg").read_text()
    ok("plot", "samples", "--run", "vae", "--runs-dir", runs_dir, "-o", "samples.pdf")
    assert Path("samples.pdf").read_bytes().startswith(b"%PDF")
    assert "no density" in fails(1, "plot", "samples", "--run", "zero", "--runs-dir", runs_dir, "-o", "a.png")


def test_plot_adds_the_baselines_of_a_comparison(runs_dir: Path):
    kept = results.read_evaluation(runs_dir / "zero")
    assert kept is not None
    path = runs_dir / "zero" / runs.COMPARISON_SCORES
    files.write_arrays(path, {"anomalae": kept.scores, "lof": -kept.scores, "a<b>$": kept.scores * 2})
    ok("plot", "roc", "--run", "zero", "--runs-dir", runs_dir, "-o", "roc.svg")
    drawn = Path("roc.svg").read_text()
    assert f"lof: AUC {1 - (kept.roc_auc or 0):.4f}" in drawn
    assert f"a&lt;b&gt;$: AUC {kept.roc_auc:.4f}" in drawn
    assert "anomalae: AUC" not in drawn
    files.write_arrays(path, {"lof": kept.scores[:-1]})
    line = fails(1, "plot", "pr", "--run", "zero", "--runs-dir", runs_dir, "-o", "pr.svg")
    assert "'lof' has shape" in line
    path.unlink()


def test_plot_refuses_a_broken_evaluation(runs_dir: Path):
    table = runs_dir / "zero" / runs.SCORES
    whole = table.read_text()
    table.write_text(re.sub(r"^(3,[^,]*,[01]),[^,]*", r"\1,nan", whole, flags=re.MULTILINE))
    line = fails(1, "plot", "scores", "--run", "zero", "--runs-dir", runs_dir, "-o", "a.png")
    assert "image 3: score is 'nan'" in line
    table.write_text(whole)
    assert not Path("a.png").exists()


@pytest.mark.parametrize("dimensions", [1, 2])
def test_latents_of_one_and_two_dimensions_as_they_are(dimensions: int, digits):
    split = digits.one_class(normal=[0], seed=0)
    detector = Detector(hidden=(16,), latent_dim=dimensions, epochs=1).fit(
        split.train.images, split.validation.images, split.calibration.images
    )
    codes = detector.encode(digits.test.images[:40])
    points, axes = plots.principal_plane(codes)
    assert np.array_equal(points, codes.astype(np.float64))
    figure = plots.latent(points, digits.test.labels[:40], scores=np.arange(40.0), axes=axes)
    assert figure.axes[0].get_ylabel() == ("class" if dimensions == 1 else "latent dimension 2")
    plots.svg(figure)
