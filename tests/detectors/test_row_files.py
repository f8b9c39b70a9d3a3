"""Rows that are read again: what was never written of an image is refused, with its file and its number."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from anomalae.detectors.row_files import read_rows
from anomalae.errors import BundleError

ROW = {"path": "a.png", "score": 1.5, "p_value": 0.5, "flagged": False, "error": None, "box": [1, 2, 30, 40]}
FAILED = {"path": "b.png", "score": None, "p_value": None, "flagged": None, "error": "no image", "box": None}


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ([1], "expected path, score"),
        ({name: ROW[name] for name in ("path", "score", "p_value")}, "expected path, score"),
        ({**ROW, "more": 1}, "expected path, score"),
        ({**ROW, "path": 5}, "path and error must be texts"),
        ({**ROW, "error": 5}, "path and error must be texts"),
        ({**ROW, "score": "x"}, "score is 'x', of the wrong kind"),
        ({**ROW, "score": math.inf}, "score is inf, of the wrong kind"),
        ({**ROW, "score": 10**400}, "score is 1000"),
        ({**ROW, "p_value": 1.5}, "p_value is 1.5, of the wrong kind"),
        ({**ROW, "p_value": -0.5}, "p_value is -0.5, of the wrong kind"),
        ({**ROW, "p_value": None}, "must have both or none"),
        ({**ROW, "score": None}, "must have both or none"),
        ({**ROW, "flagged": "yes"}, "flagged is 'yes', of the wrong kind"),
        ({**ROW, "box": [1, 2, 3]}, "box is .*, of the wrong kind"),
        ({**ROW, "box": "1 2 x 4"}, "box is '1 2 x 4', of the wrong kind"),
        ({**ROW, "box": [1, 2, 3, -4]}, "box is .*, of the wrong kind"),
        ({**ROW, "box": {"1": 2}}, "box is .*, of the wrong kind"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_no_row_is_named_by_its_number(tmp_path: Path, row: object, fault: str):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in (ROW, FAILED, row)))
    read = read_rows(path, "jsonl")
    assert [next(read), next(read)] == [ROW, FAILED]
    with pytest.raises(BundleError, match=f"rows\\.jsonl: row 3: cannot be read: .*{fault}"):
        next(read)


def test_what_is_no_json_is_named_by_its_number(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    for text, fault in (("{", "row 2: cannot be read"), ("[" * 200_000, "row 2: nested too deeply")):
        path.write_text(json.dumps(ROW) + "\n" + text + "\n")
        with pytest.raises(BundleError, match=f"rows\\.jsonl: {fault}"):
            list(read_rows(path, "jsonl"))
