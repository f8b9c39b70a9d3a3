"""Tables: what is for images alone is refused, by name, in one line."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from anomalae.detectors import tabular
from anomalae.detectors.tabular import TableDetector, table_settings
from anomalae.errors import ConfigError

ROWS = np.random.default_rng(0).normal(size=(20, 3))
WIDE = "for tables it is ae or vae; others are for 28x28 images"
NONE = "tables have none; they are for 28x28 images"


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"model": "ladder-vae"}, f"model 'ladder-vae': {WIDE}"),
        ({"model": "ladder-vae", "layers": 3}, f"model 'ladder-vae': {WIDE}"),
        ({"model": "adgm"}, f"model 'adgm': {WIDE}"),
        ({"model": "gan"}, f"model 'gan': {WIDE}"),
        ({"views": ("edges",)}, f"views ('edges',): {NONE}"),
        ({"views": ["pixels", "edges"]}, f"views ['pixels', 'edges']: {NONE}"),
        ({"members": 2}, f"members 2: {NONE}"),
        ({"neighbours": 5}, f"neighbours 5: {NONE}"),
    ],
)
def test_what_is_for_images_alone_is_refused(asked: dict[str, Any], line: str):
    for refusing in (lambda: table_settings(20, 3, **asked), lambda: TableDetector(**asked).fit(ROWS)):
        with pytest.raises(ConfigError, match=f"^{re.escape(line)}$"):
            refusing()


def test_what_says_that_there_is_none_is_no_fault():
    plain = table_settings(20, 3)
    assert table_settings(20, 3, model="ae", views=["pixels"], members=1, neighbours=0) == plain
    assert table_settings(20, 3, model=None, views=None, members=None, neighbours=None) == plain


def test_a_fit_that_breaks_off_leaves_what_was_fitted(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(60, 4))
    detector = TableDetector(epochs=2).fit(rows)
    scores = detector.score(rows)
    monkeypatch.setattr(tabular.loop, "run", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        detector.fit(1000 * rows)
    np.testing.assert_array_equal(detector.score(rows), scores)


def _interrupted(*arguments):
    raise KeyboardInterrupt
