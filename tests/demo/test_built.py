"""What is built for a demo is that of its sources: `make web` makes it anew."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "anomalae" / "demo" / "built"
HASHES = json.loads((BUILT / "hashes.json").read_text())


def hashes(paths: list[str]) -> dict[str, str]:
    return {path: hashlib.sha256((ROOT / path).read_bytes()).hexdigest() for path in paths}


@pytest.mark.parametrize("kind", ["sources", "built"])
def test_what_is_built_is_not_stale(kind):
    assert hashes(list(HASHES[kind])) == HASHES[kind], "stale: run make web"


def test_no_source_is_left_out():
    there = [
        path for path in (ROOT / "web").rglob("*") if path.is_file() and "node_modules" not in path.parts
    ]
    assert {path.relative_to(ROOT).as_posix() for path in there} | {"anomalae/page/page.js"} == set(
        HASHES["sources"]
    )
    assert {f"anomalae/demo/built/{path.name}" for path in BUILT.iterdir()} == {
        *HASHES["built"],
        "anomalae/demo/built/hashes.json",
    }


def test_it_is_the_runtime_of_the_lock_file_and_small():
    lock = json.loads((ROOT / "web" / "package-lock.json").read_text())
    version = lock["packages"]["node_modules/onnxruntime-web"]["version"]
    assert f'"{version}"' in (BUILT / "demo.js").read_text()
    assert gzip.decompress((BUILT / "ort.wasm.gz").read_bytes()).startswith(b"\0asm")
    # Of the 25 MB that a wheel may have.
    assert sum(path.stat().st_size for path in BUILT.iterdir()) < 6_000_000
    # And its licences.
    kept = sorted(path.name for path in (ROOT / "web" / "licences").iterdir())
    assert kept == [f"onnxruntime-{version}-{what}.txt" for what in ("LICENSE", "ThirdPartyNotices")]
    assert "Copyright (c) Microsoft Corporation" in (BUILT / "licences.txt").read_text()
