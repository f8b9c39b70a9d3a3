"""Figures of experiments: what is drawn is what was given, and can be read."""

from __future__ import annotations

import numpy as np
import pytest

from anomalae import plots


def test_lines_leave_out_what_is_missing_and_draw_bands():
    series = {
        "AE": plots.Series([1, 10, 100], [0.8, None, 0.9], [0.7, None, 0.8], [0.9, None, 1.0]),
        "VAE": plots.Series([1, 10], [0.5, 0.6]),
    }
    (axes,) = plots.lines(series, x="width", y="ROC-AUC", log_x=True, level={"best": 0.95}).axes
    first, second, level = axes.lines
    np.testing.assert_array_equal(first.get_ydata(), [0.8, np.nan, 0.9])
    assert [first.get_label(), second.get_label()] == ["AE", "VAE"]
    assert len(axes.collections) == 1
    assert set(level.get_ydata()) == {0.95}
    assert first.get_color() != second.get_color()
    assert first.get_linestyle() != second.get_linestyle()


def test_points_that_are_not_joined_stand_side_by_side_with_bars():
    some = plots.Series([0, 1], [0.8, 0.9], [0.7, None], [0.9, None])
    (axes,) = plots.lines({"A": some, "B": some}, x="noise", y="y", ticks=[0, 1], joined=False).axes
    marks = [line for line in axes.lines if line.get_marker() in ("o", "s")]
    assert [line.get_linestyle() for line in marks] == ["None", "None"]
    for line in marks:
        np.testing.assert_array_equal(line.get_ydata(), [0.8, 0.9])
        np.testing.assert_allclose(line.get_xdata(), [0, 1], atol=0.1)
    assert not set(marks[0].get_xdata()) & set(marks[1].get_xdata())
    ends = axes.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose(sorted(ends), [0.7, 0.9])
    # All points are within the axes, and none lies at an edge.
    left, right = axes.get_xlim()
    assert left < -0.1 < 1.1 < right


@pytest.mark.parametrize(
    ("ticks", "log", "all_there"),
    [((0, 1), False, True), ((1, 2, 4, 512), True, True), ((1, 2, 4, 512), False, False)],
)
def test_ticks_are_at_the_values_where_there_is_room(ticks, log, all_there):
    series = plots.Series(ticks, [0.5 + 0.1 * place for place in range(len(ticks))])
    (axes,) = plots.lines({"AE": series}, x="x", y="y", log_x=log, ticks=ticks).axes
    assert (list(axes.get_xticks()) == list(ticks)) == all_there
    if all_there:
        assert [label.get_text() for label in axes.get_xticklabels()] == [str(value) for value in ticks]


@pytest.mark.parametrize("values", [[1e-4, 1e-3, 0.1], [0.018, 0.02, 0.024], [1.0, 900.0, 2e5]])
def test_ticks_of_a_logarithmic_axis_are_plain_numbers(values):
    figure = plots.lines({"AE": plots.Series([1, 2, 3], values)}, x="width", y="error", log_y=True)
    figure.canvas.draw()
    low, high = figure.axes[0].get_ylim()
    shown = [
        label.get_text()
        for place, label in zip(figure.axes[0].get_yticks(), figure.axes[0].get_yticklabels(), strict=True)
        if low <= place <= high
    ]
    assert len(shown) >= 2
    assert all(float(text.replace(",", "")) > 0 for text in shown)
    assert not any("e" in text for text in shown)


def test_bars_come_in_the_order_of_the_legend():
    groups = {"one class": {"AE": 0.1, "PCA": 0.2, "VAE": None}, "two": {"AE": 0.3, "PCA": 0.4, "VAE": 0.5}}
    figure = plots.bars(groups, y="error", spreads={"one class": {"AE": 0.01}, "two": {"PCA": 0.02}})
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["one class", "two"]
    bars = {
        (container.get_label(), group): patch
        for container in axes.containers
        if container.get_label() in ("AE", "PCA", "VAE")
        for group, patch in zip(groups, container.patches, strict=True)
    }
    heights = [bars[name, group].get_y() for group in groups for name in ("AE", "PCA", "VAE")]
    assert heights == sorted(heights, reverse=True)
    assert bars["PCA", "two"].get_width() == 0.4
    assert np.isnan(bars["VAE", "one class"].get_width())


@pytest.mark.parametrize(
    ("names", "columns"), [(["a", "b", "c", "d"], 4), (["a name that is long " * 2, "b"], 1)]
)
def test_a_legend_has_as_many_columns_as_there_is_room_for(names, columns):
    figure = plots.lines({name: plots.Series([1], [1]) for name in names}, x="x", y="y")
    (legend,) = figure.legends
    assert legend._ncols == columns
    figure.canvas.draw()
    assert legend.get_window_extent().width <= figure.bbox.width


def test_histograms_share_their_axis():
    figure = plots.spreads({"0": [0.0, 0.1], "1": [0.9, 1.0]}, x="code", bins=10)
    assert [axes.get_xlim() for axes in figure.axes] == [figure.axes[0].get_xlim()] * 2
    assert [sum(patch.get_height() for patch in axes.patches) for axes in figure.axes] == [2, 2]


def test_ten_classes_on_a_line_have_ten_colours():
    counts = {str(name): [1, 2] for name in range(10)}
    figure = plots.decoded_lines({"all": (np.zeros((5, 28, 28)), counts)}, x="place")
    colours = {panel.patches[0].get_facecolor() for panel in figure.axes if panel.patches}
    assert len(colours) == 10


def test_a_film_has_rows_of_their_own_length():
    images = np.arange(5 * 784).reshape(5, 28, 28) / (5 * 784)
    figure = plots.film({"image": images, "rebuilt": images[:2]}, columns=["a", "b"])
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 7
    assert [axes.get_title() for axes in shown[:3]] == ["a", "b", ""]


def test_a_name_of_several_columns_stands_once():
    figure = plots.film({"image": np.zeros((4, 28, 28))}, columns=["normal", "normal", "anomalous", "normal"])
    assert [axes.get_title() for axes in figure.axes] == ["normal", "", "anomalous", "normal"]


def test_differences_are_hollow_where_their_interval_holds_nothing():
    groups = {"noise": {"none": (-3.0, 1.0), "half": (0.5, 1.0)}, "view": {"pixels": (40.0, None)}}
    (axes,) = plots.differences(groups, x="ROC-AUC", linear=1).axes
    points = [container.lines[0] for container in axes.containers]
    assert [float(point.get_xdata()[0]) for point in points] == [-3.0, 0.5, 40.0]
    assert [point.get_markerfacecolor() == point.get_color() for point in points] == [True, False, True]
    # The first is above, and groups stand apart.
    first, second, third = (float(point.get_ydata()[0]) for point in points)
    assert first > second > third
    assert second - third > first - second
    assert [label.get_text() for label in axes.get_yticklabels()] == ["none", "half", "pixels"]
    assert [text.get_text() for text in axes.texts] == ["noise", "view"]
    assert axes.get_xscale() == "symlog"
    assert plots.differences(groups, x="ROC-AUC").axes[0].get_xscale() == "linear"
