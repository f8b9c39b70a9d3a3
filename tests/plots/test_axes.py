"""Figures draw into axes of one's own, show in notebooks, and keep their names inside at any length."""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from anomalae import plots
from anomalae.errors import DataError
from anomalae.evaluation.metrics import Evaluation, evaluate
from anomalae.models.training.state import Epoch
from anomalae.plots import style

CJK = "\u6570\u5b57\u306e\u4e03\u3068\u516b\u305d\u3057\u3066\u4e5d\u306e\u624b\u66f8\u304d\u753b\u50cf"


def evaluated(names: list[str], normal: str = "zero") -> Evaluation:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.array([normal, *names]), 40)
    truth = labels != normal
    scores = rng.normal(size=len(labels)) + 2 * truth
    return evaluate(scores, truth, labels, p_values=rng.uniform(0.01, 1, len(labels)), threshold=1.5)


FOUND = evaluated(["one", "two"])
IMAGES = np.random.default_rng(0).uniform(size=(4, 28, 28))
EPOCHS = [
    Epoch(epoch=i, loss=1 / i, learning_rate=0.1, seconds=1.0, validation_loss=2 / i) for i in (1, 2, 3)
]
POINTS = np.random.default_rng(1).normal(size=(60, 2))
LABELS = np.repeat(["a", "b", "c"], 20)
ONE_PANEL = {
    "roc": lambda ax: plots.roc(FOUND, baselines={"lof": FOUND}, title="t", ax=ax),
    "pr": lambda ax: plots.pr(FOUND, title="t", ax=ax),
    "scores": lambda ax: plots.scores(FOUND, title="t", ax=ax),
    "calibration": lambda ax: plots.calibration(FOUND, n_calibration=50, title="t", ax=ax),
    "classes": lambda ax: plots.classes(FOUND, title="t", ax=ax),
    "latent": lambda ax: plots.latent(POINTS, LABELS, normal=["b"], scores=np.ones(60), title="t", ax=ax),
    "history": lambda ax: plots.history(EPOCHS, title="t", ax=ax),
    "matrix": lambda ax: plots.matrix([[0.5, 1.0]], ["r"], ["a", "b"], title="t", ax=ax),
    "samples": lambda ax: plots.samples(IMAGES, title="t", ax=ax),
    "strip": lambda ax: plots.strip(IMAGES, list("abcd"), title="t", ax=ax),
    "walk": lambda ax: plots.walk(IMAGES[None], ["unit 0"], range(4), title="t", ax=ax),
}


def test_every_figure_of_one_panel_draws_into_a_given_grid():
    whole = Figure(figsize=(16, 12), layout="constrained")
    grid = whole.subplots(3, 4).ravel()
    for ax, draw in zip(grid, ONE_PANEL.values(), strict=False):
        before = set(whole.axes)
        assert draw(ax) is whole
        # A bar of colours is all that may come beside it.
        assert len(set(whole.axes) - before) <= 1
        assert ax.get_title(loc="left") == "t"
        assert ax.has_data()
    assert not whole.legends
    assert not grid[-1].has_data()
    # The layout is still that of whoever made the grid.
    assert isinstance(whole.get_layout_engine(), ConstrainedLayoutEngine)
    whole.savefig("grid.png", dpi=40)


def test_a_panel_of_a_subfigure_gives_the_whole_figure():
    whole = Figure()
    left, _ = whole.subfigures(1, 2)
    assert plots.roc(FOUND, ax=left.subplots()) is whole


def test_a_given_panel_shows_the_same_curve():
    ax = Figure().subplots()
    plots.roc(FOUND, ax=ax)
    (curve,) = [line for line in ax.lines if str(line.get_label()).startswith("this run")]
    assert np.array_equal(np.column_stack(curve.get_data()), np.column_stack(FOUND.roc_curve()[:2]))
    assert ax.get_legend() is not None
    assert not ax.child_axes


@pytest.mark.parametrize("name", [*ONE_PANEL, "reconstructions"])
def test_a_notebook_shows_every_figure(name: str):
    if name == "reconstructions":
        drawn = plots.reconstructions(IMAGES, IMAGES, IMAGES, list("abcd"), scale=1.0)
    else:
        drawn = ONE_PANEL[name](None)
    assert drawn._repr_png_().startswith(b"\x89PNG")


def test_a_notebook_shows_a_figure_without_pyplot():
    code = (
        "import sys; from anomalae import plots; shown = plots.matrix([[0.5]], ['a'], ['b'])._repr_png_();"
        "assert shown.startswith(b'\\x89PNG');"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-W", "error", "-c", code], check=True)


def test_exported_is_what_users_call_with_an_example():
    assert sorted(plots.__all__) == plots.__all__ == dir(plots)
    for name in plots.__all__:
        function = getattr(plots, name)
        assert callable(function)
        lines = str(function.__doc__).splitlines()
        examples = [line for line in lines if line.strip().startswith(">>> ")]
        assert examples, name
        if name not in ("save", "svg") and not isinstance(function, type):
            assert "Returns" in str(function.__doc__), name
        first = ast.get_docstring(ast.parse(f'"""{lines[0]}"""')) or ""
        assert first.endswith("."), name


# --- names ---


@pytest.mark.parametrize(
    "names",
    [
        [str(digit) for digit in range(10)],
        [f"a very long name of a class, the number {i} of many" for i in range(45)],
        [CJK, CJK[:3], "x"],
        ["W" * 40, "M"],
        ["single"],
    ],
    ids=["digits", "long", "cjk", "wide", "single"],
)
def test_the_chart_of_classes_keeps_its_labels_inside(names: list[str]):
    figure = plots.classes(evaluated(names), title="a-run-with-a-name-of-some-length: each class")
    axes = figure.axes[0]
    for label in axes.get_yticklabels():
        box = label.get_window_extent()
        # A browser draws what the font lacks with letters as wide as they are high.
        wide = sum(character >= "\u3000" for character in label.get_text())
        left = box.x1 - max(box.width, (wide * 8.5 + (len(label.get_text()) - wide) * 3) * figure.dpi / 72)
        assert left >= 0, label.get_text()
    for text in (
        *axes.get_yticklabels(),
        *figure.axes[1].texts,
        axes.xaxis.label,
        figure.axes[1].xaxis.label,
    ):
        box = text.get_window_extent()
        assert box.x0 >= 0, text.get_text()
        assert box.x1 <= figure.bbox.width, text.get_text()
        assert box.y0 >= 0, text.get_text()


def test_long_names_that_begin_alike_stay_apart():
    names = [f"a very long name of a class, the number {i} of many" for i in range(12)]
    shown = [label.get_text() for label in plots.classes(evaluated(names)).axes[0].get_yticklabels()]
    assert len(set(shown)) == len(shown)
    assert all(style.display_columns(name) <= 36 for name in shown[1:])


def test_the_normal_class_stands_out_and_is_named():
    figure = plots.latent(POINTS, LABELS, normal=["b"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["b (normal)", "a", "c"]
    sizes = {points.get_label(): points.get_sizes()[0] for points in figure.axes[0].collections}
    assert sizes["b (normal)"] > sizes["a"] == sizes["c"]
    top = max(figure.axes[0].collections, key=lambda points: points.get_zorder())
    assert top.get_label() == "b (normal)"
    named = {text.get_text(): text for text in figure.axes[0].texts}
    assert set(named) == {"a", "b", "c"}
    assert named["b"].get_fontweight() == "bold"


def test_names_of_classes_that_lie_upon_each_other_do_not():
    points = np.random.default_rng(0).normal(size=(800, 2))
    points[0] = 9, 9
    figure = plots.latent(points, np.arange(800) % 8)
    texts = figure.axes[0].texts
    assert len(texts) >= 6
    for one, other in itertools.combinations([text.get_window_extent() for text in texts], 2):
        assert not one.overlaps(other)


def test_of_many_classes_normal_ones_keep_their_names():
    labels = np.repeat([f"class {i}" for i in range(30)], 4)
    points = np.random.default_rng(0).normal(size=(120, 2))
    figure = plots.latent(points, labels, normal=["class 20", "class 3"])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[:2] == ["class 3 (normal)", "class 20 (normal)"]
    assert len(texts) == 10
    assert texts[-1] == "others"
    assert sum(len(points.get_offsets()) for points in figure.axes[0].collections) == 120
    all_but_one = plots.latent(points, labels, normal=[f"class {i}" for i in range(29)])
    texts = [text.get_text() for text in all_but_one.legends[0].get_texts()]
    assert texts[-2:] == ["others (normal)", "class 29"]


def test_a_strip_of_many_images_goes_on_in_rows(tmp_path: Path):
    figure = plots.strip(np.zeros((25, 28, 28)), [str(i) for i in range(25)], columns=11)
    heights = sorted({round(text.get_position()[1], 3) for text in figure.axes[0].texts})
    assert len(heights) == 3
    plots.save(figure, tmp_path / "strip.png")
    with pytest.raises(DataError, match="as many"):
        plots.strip(np.zeros((2, 28, 28)), ["a"])


def test_a_heatmap_s_words_are_drawn_below_it():
    image = np.eye(28)
    plain = plots.heat_strip(image, image, image, 1.0)
    noted = plots.heat_strip(image, image, image, 1.0, "terms of smooth, for nap is no sum over pixels")
    assert np.array_equal(noted[: len(plain)], plain)
    words = noted[len(plain) :]
    assert words.shape[1:] == plain.shape[1:]
    assert (words.min(axis=-1) < 60).sum() > 200
