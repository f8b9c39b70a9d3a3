"""Broken files of every kind that is read: each ends in a result or in a line that names it, soon, in little memory."""

from __future__ import annotations

import copy
import json
import resource
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from anomalae.detectors.row_files import RowFile
from anomalae.errors import BundleError
from tests.cli import fails
from tests.fuzz.targets import JUDGED_BY, SHARD, TARGETS, seeds

# Examples of a file in `make test`, and among the slow tests.
FEW, MANY = 25, 600
# Bytes that all examples of a target may add to the process: that of a picture of 90 million pixels on its way.
MOST_MEMORY = 2**31
BOLD = (
    b"", b"\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 8, b"[" * 5000, b"{", b"9" * 5000, b"-1", b"1e999", b"NaN",
    b"null", b'"', b"\n", b"\r", b",", b"=", b"\xff\xfe", "\u2028".encode(), b"true",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 2**63, 10**30, 1e308, -0.5, "", "a", "\n", "../..", "/etc/passwd", "\0", "\ud800", [], {},
    [[]], [None], {"a": 1}, [10**6] * 3, ["pixels"] * 100,
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, whole: list[bytes]) -> bytes:
    """A whole file with some of its bytes changed, put in, left out or doubled, or cut off."""
    content = bytearray(draw(st.sampled_from(whole)))
    for _ in range(draw(st.integers(1, 4))):
        # Headers are where files begin.
        end = draw(st.sampled_from([min(64, len(content)), len(content)]))
        at = draw(st.integers(0, end))
        match draw(st.sampled_from(["change", "put", "cut", "leave", "double", "random"])):
            case "change":
                new = draw(st.sampled_from(BOLD))
                content[at : at + len(new)] = new
            case "put":
                content[at:at] = draw(st.sampled_from(BOLD))
            case "cut":
                del content[at:]
            case "leave":
                del content[at : at + draw(st.integers(1, 16))]
            case "double":
                content[at:at] = content[at : at + draw(st.integers(1, 64))]
            case "random":
                new = draw(st.binary(min_size=1, max_size=8))
                content[at : at + len(new)] = new
    return bytes(content)


@st.composite
def other_values(draw: st.DrawFn, document: Any) -> bytes:
    """A JSON document one or two of whose values are others."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 2))):
        place = document
        while True:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = draw(st.sampled_from(list(keys)))
            inside = place[key]
            if not (isinstance(inside, dict | list) and inside) or draw(st.booleans()):
                break
            place = inside
        # A copy: the next value may be put into this one.
        place[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))
        if not document:
            break
    return json.dumps(document).encode()


def contents(name: str) -> st.SearchStrategy[bytes]:
    whole = seeds(name)
    bytes_of = mutated(whole)
    try:
        lines = [json.loads(line) for line in whole[0].splitlines()] if name.endswith("l") else []
        document = lines[0] if lines else json.loads(whole[0])
    except ValueError:
        return bytes_of
    return bytes_of | other_values(document)


def check(name: str, examples: int) -> None:
    strategy = contents(name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with tempfile.TemporaryDirectory() as folder:

        @settings(
            max_examples=examples, derandomize=True, database=None, deadline=None,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
        )  # fmt: skip
        @given(strategy)
        def ends_well(content: bytes) -> None:
            TARGETS[name](content, Path(folder))

        ends_well()
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert added < MOST_MEMORY


@pytest.mark.parametrize("name", TARGETS)
def test_a_whole_file_is_read_and_broken_ones_are_named(name: str, tmp_path: Path) -> None:
    for content in seeds(name):
        TARGETS[name](content, tmp_path)
    check(name, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_many_broken_files(name: str) -> None:
    check(name, MANY)


# --- found ---


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("settings.toml", b"a = " + b"[" * 3000),
        ("settings.toml", b"epochs = " + b"9" * 5000),
        ("rows.csv", b"path,score,p_value,flagged\na.png,1,1,0\n"),
        ("rows.csv", b"path,score,p_value,flagged,error\na.png,one,0.9,0,\n"),
        ("rows.csv", b"path,score,p_value,flagged,error\na.png,1,1,0,\n\xff,1,1,0,\n"),
        ("rows.csv", b'path,score,p_value,flagged,error\na"b,1,1,0,\n"a"b,1,1,0,\n'),
        ("rows.csv", b"path,score,p_value,flagged,error\na.png\n"),
        ("rows.jsonl", b"null\n"),
        ("rows.jsonl", b"{\n"),
        ("rows.jsonl", b"[" * 100_000 + b"\n"),
        ("rows.jsonl", b'{"path": "a", "score": NaN, "p_value": 0.9, "flagged": false, "error": null}\n'),
        (
            "rows.jsonl",
            b'{"path": "a", "score": 1, "p_value": 1, "flagged": false, "error": null, "box": [1]}\n',
        ),
        ("shard.jsonl", b'{"path": null, "score": 0.5, "p_value": 0.9, "flagged": false, "error": null}\n'),
        ("shard.jsonl", b"[" * 100_000),
        ("shard.json", SHARD.replace(b'["a"]', b"[1]")),
    ],
)
def test_what_was_found_ends_in_a_line(name: str, content: bytes, tmp_path: Path) -> None:
    TARGETS[name](content, tmp_path)


def test_a_settings_file_that_never_ends_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "pipe.toml").symlink_to("/dev/zero")
    assert "no regular file" in fails(2, "train", "--config", "pipe.toml")
    with (tmp_path / "long.toml").open("wb") as file:
        file.truncate(2**21)
    assert "2,097,152 bytes, the limit is 1,048,576" in fails(2, "train", "--config", "long.toml")


def test_a_row_that_is_none_is_named_and_stays(tmp_path: Path) -> None:
    path, part = tmp_path / "rows.csv", tmp_path / "rows.csv.part"
    content = b"path,score,p_value,flagged,error\na.png,1,1,0,\nb.png,one,1,0,\n"
    part.write_bytes(content)
    (tmp_path / "rows.csv.part.json").write_text(json.dumps(JUDGED_BY))
    with pytest.raises(BundleError, match=r"rows\.csv\.part: row 2: cannot be read: score is 'one'"):
        RowFile(path, "csv", JUDGED_BY, resume=True)
    assert part.read_bytes() == content
