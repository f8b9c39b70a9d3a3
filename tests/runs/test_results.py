"""What a run keeps of its evaluation and comparison comes back as it was, and anything else is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from anomalae import files, runs
from anomalae.errors import BundleError
from anomalae.evaluation.metrics import Evaluation, evaluate
from anomalae.runs import results


@pytest.fixture
def found() -> Evaluation:
    """An evaluation of 30 images, judged at alpha 0.05."""
    rng = np.random.default_rng(0)
    is_anomaly = np.arange(30) >= 12
    scores = rng.normal(size=30) + is_anomaly
    return evaluate(
        scores, is_anomaly, np.arange(30) % 5, p_values=rng.uniform(size=30), alpha=0.05, threshold=1.0
    )


def keep(folder: Path, evaluation: Evaluation) -> None:
    results.write_evaluation(folder, {"run": "a", **evaluation.to_dict()}, evaluation)


@pytest.mark.parametrize("threshold", [None, 0.25])
@pytest.mark.parametrize(
    "labels",
    [[3, 10, -1], ["3", "03", "x"], ["1", "2", "9" * 19], ['a,"b"', "line\r\nbreak", "ä<script>"], None],
    ids=str,
)
def test_an_evaluation_comes_back_as_it_was_kept(
    tmp_path: Path, labels: list | None, threshold: float | None
):
    p_values = None if labels is None else [0.1, 1 / 3, 1.0]
    kept = evaluate([0.1, 1 / 3, 1e-300], [False, True, True], labels, p_values=p_values, threshold=threshold)
    keep(tmp_path, kept)
    read = results.read_evaluation(tmp_path)
    assert read is not None
    assert read.to_dict() == kept.to_dict()
    for name in ("scores", "is_anomaly", "p_values", "labels", "flagged"):
        assert np.array_equal(getattr(read, name), getattr(kept, name))
    if labels is not None:
        assert read.labels is not None
        assert read.labels.dtype.kind == kept.labels.dtype.kind  # type: ignore[union-attr]


def test_no_evaluation_without_both_files(tmp_path: Path, found: Evaluation):
    assert results.read_evaluation(tmp_path) is None
    for name in (runs.SCORES, runs.EVALUATION):
        keep(tmp_path, found)
        (tmp_path / name).unlink()
        assert results.read_evaluation(tmp_path) is None


HEAD = "index,label,is_anomaly,score,p_value,flagged\n"


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ("", "the first line must be index,label"),
        ("index,label,is_anomaly,score,flagged\n0,1,0,0.1,0\n", "the first line must be index,label"),
        (HEAD, r"scores: .*at least 1"),
        (HEAD + "0,1,0,nan,0.5,0\n", "image 0: score is 'nan', must be a finite number"),
        (HEAD + "0,1,0,0.1,0.5,0\n1,2,1,inf,0.5,1\n", "image 1: score is 'inf'"),
        (HEAD + "0,1,0,,0.5,0\n", "image 0: score is ''"),
        (HEAD + "0,1,0,0.1,x,0\n", "image 0: p_value is 'x'"),
        (HEAD + "0,1,0,0.1,1.5,0\n", "must be between 0 and 1"),
        (HEAD + "0,1,no,0.1,0.5,0\n", "image 0: is_anomaly is 'no', must be 0 or 1"),
        (HEAD + "0,1,0,0.1,0.5\n", "image 0: 5 columns, expected 6"),
        (HEAD + "1,1,0,0.1,0.5,0\n", "image 0: index is '1', expected 0"),
        (HEAD + "0,1,0,0.1,0.5,0\n1,,1,0.3,0.5,1\n", "image 1: the label is missing"),
        (HEAD + "0,1,0,0.1,0.5,0\n1,2,1,0.3,,1\n", "image 1: the p_value is missing"),
        (HEAD + "0,1,0,0.1,0.5,0\n", "does not belong to evaluation.json"),
        (HEAD + "0,1,0,0.1,0.5,1\n1,2,1,0.3,0.5,1\n", "does not belong to evaluation.json"),
        (HEAD + '0,"1,0,0.1,0.5,0\n', "cannot be read"),
    ],
)
def test_a_broken_scores_file_is_refused(tmp_path: Path, table: str, fault: str):
    keep(tmp_path, evaluate([0.1, 0.3], [False, True], [1, 2], p_values=[0.5, 0.5], threshold=0.2))
    (tmp_path / runs.SCORES).write_text(table)
    with pytest.raises(BundleError, match=rf"scores\.csv: .*{fault}"):
        results.read_evaluation(tmp_path)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"alpha": 0}, "alpha is 0"),
        ({"alpha": "x"}, "alpha is 'x'"),
        ({"threshold": float("nan")}, "not valid JSON: NaN is no finite number"),
        ({"threshold": True}, "threshold is True"),
        ({"threshold": 10**400}, "threshold is 1"),
        ({"n_normal": 7}, "does not belong"),
    ],
)
def test_a_broken_evaluation_file_is_refused(tmp_path: Path, found: Evaluation, change: dict, fault: str):
    keep(tmp_path, found)
    path = tmp_path / runs.EVALUATION
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BundleError, match=fault):
        results.read_evaluation(tmp_path)
    for text, message in (
        ("[]", "expected an object"),
        ("{}", "'alpha' is missing"),
        ("{", "not valid JSON"),
    ):
        path.write_text(text)
        with pytest.raises(BundleError, match=message):
            results.read_evaluation(tmp_path)


def test_not_text_is_refused(tmp_path: Path, found: Evaluation):
    keep(tmp_path, found)
    (tmp_path / runs.SCORES).write_bytes(b"\xff\x00")
    with pytest.raises(BundleError, match=r"scores\.csv: cannot be read"):
        results.read_evaluation(tmp_path)


# --- comparison -------------------------------------------------------------------------------------------------


def test_a_comparison_comes_back_as_it_was_kept(tmp_path: Path):
    assert results.read_comparison(tmp_path) is None
    assert results.read_comparison_scores(tmp_path) == {}
    rows = [{"method": results.OWN, "status": "ok"}, {"method": "knn", "status": "ok"}]
    scores = {results.OWN: np.array([0.0, 1.0]), "knn": np.array([0.5, 0.25])}
    results.write_comparison(tmp_path, {"rows": rows}, scores)
    read = results.read_comparison(tmp_path)
    assert read is not None
    assert read.rows == rows
    assert {name: values.tolist() for name, values in read.scores.items()} == {
        name: values.tolist() for name, values in scores.items()
    }


BROKEN_ROWS = ({"method": 5}, {"method": "knn", "status": 5}, {"method": "knn", "roc_auc": "high"})


@pytest.mark.parametrize(
    "content", [[], {}, {"rows": 3}, {"rows": [3]}, {"rows": [{}]}, *({"rows": [row]} for row in BROKEN_ROWS)]
)
def test_a_broken_comparison_is_refused(tmp_path: Path, content: object):
    files.write_json(tmp_path / runs.COMPARISON, content)
    with pytest.raises(BundleError, match="is no comparison"):
        results.read_comparison(tmp_path)


def test_a_list_of_runs_reads_the_numbers_alone(tmp_path: Path, found: Evaluation):
    assert results.read_evaluation_document(tmp_path) is None
    keep(tmp_path, found)
    document = results.read_evaluation_document(tmp_path)
    assert document is not None
    assert document["roc_auc"] == found.roc_auc
    files.write_json(tmp_path / runs.EVALUATION, {"alpha": 0.05})
    with pytest.raises(BundleError, match="has no 'roc_auc'; evaluate the run again"):
        results.read_evaluation_document(tmp_path)
