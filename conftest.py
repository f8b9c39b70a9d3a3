"""Tests and the examples of docstrings alike work in a folder of their own, and find no data that they did not make."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANOMALAE_RUNS", raising=False)
    if not request.node.get_closest_marker("mnist"):
        monkeypatch.delenv("ANOMALAE_DATA", raising=False)
