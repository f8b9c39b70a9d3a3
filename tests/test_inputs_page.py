"""docs/inputs.md does what it says: its code is run as it stands, block by block."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from anomalae.errors import ImageWarning

PAGE = Path(__file__).parent.parent / "docs" / "inputs.md"


def run(blocks: list[str], names: dict) -> None:
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)


def test_the_code_of_the_page_runs():
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    names: dict = {}
    with pytest.warns(ImageWarning, match=r"shape \(56, 56\)"):
        run(blocks, names)
    scores = names["scores"]
    assert names["one"].shape == (1,)
    for form, expected in (("of_tensors", scores), ("of_files", scores[:3]), ("streamed", scores)):
        np.testing.assert_allclose(names[form], expected, rtol=1e-4, err_msg=form)
    np.testing.assert_array_equal(names["same"].score(names["images"]), scores)
    np.testing.assert_allclose(names["of_any_size"], names["resizing"].score(names["large"][:5]), rtol=1e-6)
    assert names["verdicts"].mean() < 0.3
    assert (names["few"].data.folds, names["few"].threshold(alpha=0.05)) == (5, 30.0)
    assert names["aside"].threshold(alpha=0.05) is None
