"""Tests and the examples of docstrings alike work in a folder of their own, and leave nothing to the next.

They find no data that they did not make, and the parts that they register are gone after.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalae.network_kinds import REGISTRIES


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANOMALAE_RUNS", raising=False)
    if not request.node.get_closest_marker("mnist"):
        monkeypatch.delenv("ANOMALAE_DATA", raising=False)
    for registry in REGISTRIES.values():
        monkeypatch.setattr(registry, "_own", dict(registry._own))
