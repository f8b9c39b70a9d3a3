"""docs/extending.md does what it says: its code is run as it stands, block by block."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from anomalae.network_kinds import REGISTRIES

PAGE = Path(__file__).parent.parent / "docs" / "extending.md"


def test_the_code_of_the_page_runs(monkeypatch: pytest.MonkeyPatch):
    for registry in REGISTRIES.values():
        monkeypatch.setattr(registry, "_own", {})
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 6
    names = {"__name__": "my_parts"}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    assert len(names["test_contract"].pytestmark[0].args[1]) > 30


def test_the_page_is_linked():
    assert "docs/extending.md" in (PAGE.parent.parent / "README.md").read_text(encoding="utf-8")
