"""`export`: a run as a model for onnxruntime, and everything that judges by it."""

from __future__ import annotations

import contextlib
import csv
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from anomalae import Detector
from anomalae.detectors.export import OnnxDetector, writing
from anomalae.detectors.export.digests import digests
from anomalae.detectors.export.names import DIGEST, METADATA, OPSET, TOLERANCE
from anomalae.errors import BundleError, ConfigError, ImageError
from anomalae.evaluation.conformal import p_values, raised
from tests.cli import fails, ok, parsed, process, run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(small: Detector, digits, tmp_path_factory) -> Path:
    """A folder with a run, images to judge, and what `export` made of the run and said: once, for it takes long."""
    folder = tmp_path_factory.mktemp("export")
    small.save(folder / "runs" / "small")
    odd = [np.zeros((28, 28)), np.full((28, 28), 255), np.random.default_rng(0).integers(0, 256, (28, 28))]
    np.save(folder / "images.npy", np.concatenate([digits.test.images[:161], np.array(odd, np.uint8)]))
    words = (
        "--run",
        folder / "runs" / "small",
        "--images",
        folder / "images.npy",
        "--alpha",
        "0.1",
        "--json",
    )
    document = parsed("export", folder / "model.onnx", "--decoder", folder / "decoder.onnx", *words)
    (folder / "document.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def judged(place) -> np.ndarray:
    return np.load(place / "images.npy")


@pytest.fixture
def model(place) -> OnnxDetector:
    return OnnxDetector(place / "model.onnx")


def verdicts_agree(p: np.ndarray, scores: np.ndarray, small: Detector, difference: float) -> None:
    """P-values are the detector's wherever its score is further from all where they change than the difference."""
    known = small.calibration_scores()
    certain = (np.abs(scores[:, None] - raised(known)) > difference).all(1)
    assert certain.mean() > 0.9
    np.testing.assert_array_equal(p[certain], p_values(scores, known)[certain])


def test_what_it_says_is_in_the_file_and_within_the_tolerance(place, model):
    document = json.loads((place / "document.json").read_text())
    assert document["n_images"] == 164
    assert 0 < document["relative"] < TOLERANCE / 5
    assert (document["n_verdicts"], document["alpha"], document["run"]) == (0, 0.1, "small")
    assert document["bytes"] == (place / "model.onnx").stat().st_size
    assert {key: document[key] for key in model.told["compared"]} == model.told["compared"]
    assert model.told["settings"] == Detector.load(place / "runs" / "small").settings.to_dict()


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batches_of_any_size_have_the_verdicts_of_the_run(size, small, model, judged):
    parts = [
        model.run(("score", "p_value", "flagged"), judged[start : start + size])
        for start in range(0, len(judged) if size > 1 else 20, size)
    ]
    score, p, flagged = (np.concatenate(part) for part in zip(*parts, strict=True))
    scores = small.score(judged)[: len(score)]
    np.testing.assert_allclose(score, scores, atol=TOLERANCE * small.calibration_scores().std())
    verdicts_agree(p, scores, small, float(np.abs(score - scores).max()))
    np.testing.assert_array_equal(flagged, p <= 0.1)
    np.testing.assert_array_equal(p, p_values(score, small.calibration_scores()))


def test_a_calibration_image_keeps_its_p_value(small, digits, model):
    calibrating = digits.one_class(normal=[0], seed=0).calibration.images
    known = small.calibration_scores()
    score, p = model.run(("score", "p_value"), calibrating)
    np.testing.assert_array_equal(small.score(calibrating), known)
    np.testing.assert_array_equal(p, p_values(known, known))
    # By rounding some score more than they did, which were above themselves.
    assert (score > known).any()


def test_pictures_and_codes_are_those_of_the_run(small, model, judged):
    seen = model.judge(judged, ("reconstruction", "heatmap", "seen", "latent"))
    np.testing.assert_allclose(seen["reconstruction"], small.reconstruct(judged), atol=1e-4)
    np.testing.assert_allclose(seen["heatmap"], small.heatmap(judged), atol=1e-5)
    np.testing.assert_allclose(seen["latent"], small.encode(judged), atol=1e-3)
    # What it rebuilds is what it was shown, so it is shown something.
    assert seen["seen"].std() > 0.1
    assert model.heatmap_note() == small.heatmap_note()


@pytest.mark.parametrize("alpha", [0.5, 0.1, 0.05, 1e-3])
def test_levels_follow_from_alpha(alpha, small, model):
    threshold, level = model.run(("threshold", "heat_level"), np.zeros((1, 28, 28), np.uint8), alpha)
    assert model.threshold(alpha) == small.threshold(alpha)
    assert threshold == (np.inf if small.threshold(alpha) is None else small.threshold(alpha))
    assert level == model.heatmap_level(alpha) == small.heatmap_level(alpha)


def test_a_decoder_makes_images_of_codes(small, place, judged):
    codes = small.encode(judged[:5])
    decoder = onnxruntime.InferenceSession(place / "decoder.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(decoder.run(["decoded"], {"codes": codes})[0], small.decode(codes), atol=1e-5)


def test_the_contract_of_the_file_and_its_versions(place):
    model = onnx.load(place / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET == 20
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    for name in ("onnx", "onnxscript", "onnxruntime"):
        assert importlib.metadata.version(name) == pinned[name]
    session = onnxruntime.InferenceSession(place / "model.onnx", providers=["CPUExecutionProvider"])
    # What has a value already is no input that must be given.
    assert [(entry.name, entry.type, entry.shape) for entry in session.get_inputs()] == [
        ("images", "tensor(uint8)", ["N", 28, 28])
    ]
    assert [entry.name for entry in session.get_overridable_initializers()] == ["alpha"]
    picture, number = ["N", 28, 28], "tensor(double)"
    assert [(entry.name, entry.type, entry.shape) for entry in session.get_outputs()] == [
        ("score", number, ["N"]),
        ("p_value", number, ["N"]),
        ("flagged", "tensor(bool)", ["N"]),
        ("reconstruction", "tensor(float)", picture),
        ("heatmap", "tensor(float)", picture),
        ("seen", "tensor(float)", picture),
        ("latent", "tensor(float)", ["N", 8]),
        ("calibration", number, [40]),
        ("threshold", number, []),
        ("heat_level", number, []),
    ]


def test_ten_lines_of_onnxruntime_give_the_same_verdicts(place, model, judged):
    script = ROOT / "examples" / "onnx_ten_lines.py"
    words = [sys.executable, str(script), str(place / "model.onnx"), str(place / "images.npy"), "0.05"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    score, p, flagged = model.run(("score", "p_value", "flagged"), judged, 0.05)
    assert [float(row[0]) for row in rows] == score.tolist()
    assert [float(row[1]) for row in rows] == p.tolist()
    assert [row[2] == "True" for row in rows] == flagged.tolist()
    assert 0 < flagged.sum() < len(flagged)
    body = script.read_text().partition("import sys\n")[2]
    assert len([line for line in body.splitlines() if line.strip()]) <= 12


# --- score ---


def rows(*words: str | Path) -> list[dict[str, str]]:
    return list(csv.DictReader(ok("score", *words).stdout.splitlines()))


def test_score_judges_by_it_as_by_the_run(place):
    images = place / "images.npy"
    by_model = rows(images, "--run", place / "model.onnx", "--alpha", "0.1")
    by_run = rows(images, "--run", place / "runs" / "small", "--alpha", "0.1")
    assert [row["path"] for row in by_model] == [row["path"] for row in by_run]
    assert [row["flagged"] for row in by_model] == [row["flagged"] for row in by_run]
    scores = [[float(row["score"]) for row in rows] for rows in (by_model, by_run)]
    np.testing.assert_allclose(*scores, rtol=1e-4)


def test_score_finds_the_model_in_the_folder_of_its_run(place):
    images, folder = place / "images.npy", place / "runs" / "small"
    line = fails(1, "score", images, "--engine", "onnx", "--run", folder)
    assert line == f"Error: {folder}/model.onnx: no such file; make it: anomalae export --run small"
    (folder / "model.onnx").write_bytes((place / "model.onnx").read_bytes())
    try:
        document = parsed("score", images, "--engine", "onnx", "--run", folder, "--json")
        assert (document["run"], document["score"]) == ("small", "bent")
        # It is no stranger there.
        assert parsed("verify", folder, "--json")[0]["sound"]
    finally:
        (folder / "model.onnx").unlink()


def test_score_draws_by_it(place):
    words = ("--heatmaps", "heat", "--quiet", "--top", "3")
    ok("score", place / "images.npy", "--run", place / "model.onnx", *words)
    assert len(list(Path("heat").iterdir())) == 164


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (
            ("--score", "mse"),
            2,
            "score 'mse': {place}/model.onnx scores by bent; export it with that --score",
        ),
        (
            ("--calibration", "mine"),
            2,
            "calibration 'mine': {place}/model.onnx judges by the run's own; export it with that --calibration",
        ),
    ],
)
def test_what_is_not_in_the_model_is_one_line(place, words, status, said):
    line = fails(status, "score", place / "images.npy", "--run", place / "model.onnx", *words)
    assert line == f"Error: {said.format(place=place)}"


@pytest.mark.parametrize(
    "words",
    [("--device", "cuda"), ("--backend", "dask"), ("--scheduler", "tcp://a:1"), ("--engine", "torch")],
)
def test_what_the_model_cannot_do_is_wrong_usage(place, words):
    result = run("score", place / "images.npy", "--run", place / "model.onnx", *words)
    assert result.exit_code == 2
    assert words[0] in result.stderr


def test_scoring_by_it_does_without_pytorch_and_onnx(place):
    done = process(
        place,
        "from anomalae.cli import main",
        "main(['score', 'images.npy', '--run', 'model.onnx'])",
        blocked=("torch", "onnx", "onnxscript", "matplotlib"),
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 165


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("onnx", "'export', 'other.onnx', '--run', 'runs/small', '--images', 'images.npy'"),
        ("onnxscript", "'export', 'other.onnx', '--run', 'runs/small', '--images', 'images.npy'"),
        ("onnxruntime", "'score', 'images.npy', '--run', 'model.onnx'"),
    ],
)
def test_without_the_extra_it_says_what_to_install(place, package, words):
    done = process(place, "from anomalae.cli import main", f"main([{words}])", blocked=(package,))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {package}: is not installed; pip install 'anomalae[onnx]'\n"


# --- verify ---


def test_verify_runs_it_on_made_images(place):
    (document,) = parsed("verify", place / "model.onnx", "--json")
    assert (document["sound"], document["n_images"], document["largest_difference"]) == (True, 16, 0)
    assert "the same bits as when it was exported" in ok("verify", place / "model.onnx").stdout


def test_verify_compares_it_with_its_run_on_images(place):
    words = (
        "verify",
        place / "model.onnx",
        "--run",
        place / "runs" / "small",
        "--images",
        place / "images.npy",
    )
    made, compared = parsed(*words, "--json")
    assert (made["sound"], compared["sound"], compared["n_images"]) == (True, True, 164)
    assert made["state"] == "same"
    assert compared["score"] == json.loads((place / "document.json").read_text())["score"]


def test_verify_sees_a_model_that_scores_otherwise(place):
    model = onnx.load(place / "model.onnx")
    weights = max(
        (entry for entry in model.graph.initializer if entry.data_type == onnx.TensorProto.FLOAT),
        key=lambda entry: len(entry.raw_data),
    )
    changed = onnx.numpy_helper.to_array(weights) * np.float32(1.1)
    weights.CopyFrom(onnx.numpy_helper.from_array(changed, weights.name))
    onnx.save(model, "other.onnx")
    result = run("verify", "other.onnx")
    assert result.exit_code == 1
    assert "does not score as when it was exported" in result.stdout
    assert "SHA-256 is another" in result.stdout
    words = ("verify", "other.onnx", "--run", place / "runs" / "small", "--images", place / "images.npy")
    assert run(*words).exit_code == 1


def told_otherwise(place: Path, **other: object) -> onnx.ModelProto:
    """The model with other metadata."""
    model = onnx.load(place / "model.onnx")
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA)
    entry.value = json.dumps({**json.loads(entry.value), **other})
    return model


@pytest.mark.parametrize(
    "other",
    [
        {"rule": "mse"},
        {"run": "other"},
        {"fingerprint": "0" * 64},
        {"alpha": 0.2},
        {"calibration": {"name": None, "n": 41}},
        {"tolerance": 1e6},
        {"prepared": {"preprocess": "auto", "polarity": "dark", "arrays": ""}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_edited_metadata_are_seen(place, other):
    onnx.save(told_otherwise(place, **other), "edited.onnx")
    result = run("verify", "edited.onnx")
    assert result.exit_code == 1
    assert "was changed after it was exported: what it says of itself may be wrong" in result.stdout
    assert not json.loads(run("verify", "edited.onnx", "--json").stdout)[0]["sound"]
    line = fails(1, "score", place / "images.npy", "--run", "edited.onnx")
    assert line == "Error: edited.onnx: was changed after it was exported: its SHA-256 is another"


def test_what_was_not_changed_or_cannot_be_known_is_taken(place, judged):
    model = onnx.load(place / "model.onnx")
    # Its metadata in another order, as a map gives them.
    entries = list(model.metadata_props)[::-1]
    del model.metadata_props[:]
    model.metadata_props.extend(entries)
    assert OnnxDetector(model.SerializeToString()).state == "same"
    model.metadata_props.add(key="more", value="of another tool")
    with pytest.raises(BundleError, match="was changed"):
        OnnxDetector(model.SerializeToString())
    # Its digest is gone; then as files from before there was one.
    (kept,) = (entry for entry in entries if entry.key == METADATA)
    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA, value=kept.value)
    assert OnnxDetector(model.SerializeToString(), checked=False).state == "changed"
    told = json.loads(kept.value)
    del told["digest"]
    model.metadata_props[0].value = json.dumps(told)
    onnx.save(model, "before.onnx")
    assert parsed("verify", "before.onnx", "--json")[0]["state"] == "unknown"
    assert "has no SHA-256 of itself" in ok("verify", "before.onnx").stdout
    assert len(rows(place / "images.npy", "--run", "before.onnx")) == len(judged)


def test_any_byte_that_changes_is_seen(place):
    content = (place / "model.onnx").read_bytes()
    found, kept = digests(content)
    assert found == kept
    rng = np.random.default_rng(0)
    for place_of_it in (0, len(content) - 1, *rng.integers(len(content), size=50).tolist()):
        changed = bytearray(content)
        changed[place_of_it] ^= 1 << int(rng.integers(8))
        try:
            found, kept = digests(bytes(changed))
        except ValueError:
            continue
        assert found != kept
    # The digest itself, its name among it.
    start = content.index(DIGEST.encode())
    for place_of_it in range(start, len(content)):
        changed = bytearray(content)
        changed[place_of_it] ^= 1
        with contextlib.suppress(BundleError):
            assert OnnxDetector(bytes(changed), checked=False).state == "changed"


def test_verify_refuses_a_run_that_it_was_not_made_from(place, small, digits):
    images = digits.one_class(normal=[1], seed=0).train.images
    Detector(hidden=(8,), latent_dim=2, epochs=1).fit(images).save("runs/ones")
    line = fails(1, "verify", place / "model.onnx", "--run", "ones", "--images", place / "images.npy")
    assert line == f"Error: {place}/model.onnx: was not made from runs/ones, but from another training"


def test_a_model_that_is_not_there_is_no_run():
    assert fails(1, "verify", "nope.onnx") == "Error: nope.onnx: no such file"
    assert fails(1, "score", ".", "--run", "nope.onnx") == "Error: nope.onnx: no such file"


# --- what is no model ---


def test_what_is_no_model_is_one_line(place):
    Path("text.onnx").write_text("no model")
    line = fails(1, "score", place / "images.npy", "--run", "text.onnx")
    assert line.startswith("Error: text.onnx: is no ONNX model that onnxruntime can run: ")
    line = fails(1, "score", place / "images.npy", "--run", place / "decoder.onnx")
    assert line == f"Error: {place}/decoder.onnx: is an ONNX model, but was not exported by anomalae"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: "[" * 100_000, "its metadata are not valid JSON"),
        (lambda told: "[]", "format None: this anomalae reads 1"),
        (lambda told: json.dumps({**told, "format_version": 2}), "format 2: this anomalae reads 1"),
        (lambda told: json.dumps({**told, "alpha": "x"}), "its metadata have no alpha"),
        (
            lambda told: json.dumps({**told, "prepared": {"x": 1}}),
            "its metadata do not say how pictures become",
        ),
        (lambda told: json.dumps({**told, "prepared": {"polarity": "x"}}), "its metadata do not say how"),
    ],
)
def test_broken_metadata_are_one_line(place, change, said):
    model = onnx.load(place / "model.onnx")
    told = json.loads(model.metadata_props[0].value)
    model.metadata_props[0].value = change(told)
    with pytest.raises(BundleError, match=rf"^model.onnx: {re.escape(said)}"):
        OnnxDetector(model.SerializeToString())


def test_it_takes_grey_levels_and_what_it_was_made_for(model, judged):
    floats = judged[:3] / np.float32(255)
    np.testing.assert_array_equal(model.score(floats), model.score(judged[:3]))
    with pytest.raises(ImageError, match="floats between two grey levels"):
        model.score(floats * np.float32(0.999))
    for call in (model.score, model.p_values, model.heatmap):
        with pytest.raises(ConfigError, match="score 'mse'"):
            call(judged[:1], "mse")


# --- what is not written ---


def test_over_the_tolerance_nothing_is_written(place):
    words = ("--run", place / "runs" / "small", "--images", place / "images.npy", "--tolerance", "0")
    # By a score whose graph is small.
    words += ("--score", "mse")
    Path("old.onnx").write_text("old")
    line = fails(1, "export", "old.onnx", *words)
    assert re.fullmatch(
        r"Error: old.onnx: not written: scores differ by up to \S+ standard deviations of the calibration scores "
        r"from the detector's, the tolerance is 0",
        line,
    )
    assert {path.name: path.read_text() for path in Path().iterdir()} == {"old.onnx": "old"}


def test_a_place_that_cannot_be_written_is_one_line_before_a_graph_is_made(place, monkeypatch):
    monkeypatch.setattr(writing, "make_model", lambda *given: pytest.fail("a graph is made"))
    words = ("--run", place / "runs" / "small", "--images", place / "images.npy")
    Path("file").touch()
    for path in ("missing/model.onnx", "file/model.onnx"):
        for targets in ((path,), ("model.onnx", "--decoder", path)):
            line = fails(1, "export", *targets, *words)
            assert line.startswith(f"Error: {path}: cannot be written: ")
    assert [path.name for path in Path().iterdir()] == ["file"]
    Path("folder").mkdir()
    assert run("export", "folder", *words).exit_code == 2


def test_without_its_data_it_asks_for_images(place):
    line = fails(1, "export", "model.onnx", "--run", place / "runs" / "small")
    assert line.startswith("Error: this run was trained on arrays, not on a data set")
    assert not Path("model.onnx").exists()


def test_no_file_but_a_model_is_written_over(place, monkeypatch):
    monkeypatch.chdir(place)
    config = Path("runs/small/config.json")
    before = config.read_bytes()
    words = ("--run", "runs/small", "--images", "images.npy")
    assert "config.json: must end in .onnx; a run is named by --run" in fails(2, "export", config, *words)
    assert "small: must end in .onnx" in fails(2, "export", "small")
    assert "is the file of the model" in fails(2, "export", "a.onnx", "--decoder", "a.onnx", *words)
    # That of no name, too.
    assert "is the file of the model" in fails(2, "export", "--decoder", "runs/small/model.onnx", *words)
    assert config.read_bytes() == before
    assert not Path("a.onnx").exists()
