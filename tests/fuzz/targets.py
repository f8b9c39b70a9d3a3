"""Readers of files from anybody, each given bytes: it ends in a result, or in a named error of one line with the file.

A target is called with the bytes of one file and a folder to work in; it raises whatever breaks this promise.
"""

from __future__ import annotations

import atexit
import copy
import gzip
import io
import json
import shutil
import struct
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save

from anomalae import Detector, load_dataset, runs
from anomalae.cli.commands import train
from anomalae.datasets.load import load_dataset as load_any
from anomalae.detectors import saving, shards
from anomalae.detectors.row_files import RowFile
from anomalae.errors import AnomalaeError
from anomalae.evaluation import evaluate
from anomalae.images.inputs import count_inputs, read_idx, read_inputs
from anomalae.reports.collect.scores_file import read_scores
from anomalae.runs import listing, record, results

# A copy, for a command remembers the first context it is read in.
TRAIN = copy.copy(train.command)
# Seconds of the processor that a file of some kilobytes may take.
MOST_SECONDS = 10.0
# Rows of one file that are looked at: the others take long, and are no others.
MOST_ROWS = 200

Target = Callable[[bytes, Path], None]


def tried(call: Callable[[], object], *names: str) -> None:
    """Make a call that may raise an error of ours, of one line that names one of these; nothing else."""
    begun = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except (AnomalaeError, click.ClickException) as error:
        message = error.message if isinstance(error, click.ClickException) else str(error)
        assert_line(message, names)
    taken = time.process_time() - begun
    assert taken < MOST_SECONDS, f"{taken:.1f} s"


def assert_line(message: str, names: tuple[str, ...]) -> None:
    assert message
    assert len(message.splitlines()) == 1, repr(message)
    assert any(name in message for name in names), f"names none of {names}: {message}"


# --- images ---


def read_images(name: str) -> Target:
    """Read a file of images of this name, as `score` does."""

    def target(content: bytes, folder: Path) -> None:
        path = folder / name
        path.write_bytes(content)

        def read() -> None:
            count_inputs([path])
            for place, entry in enumerate(read_inputs([path])):
                if entry.image is None:
                    assert_line(str(entry.error), (str(path),))
                else:
                    assert entry.image.shape == (28, 28)
                    assert entry.image.dtype == np.uint8
                if place >= MOST_ROWS:
                    return

        tried(read, name)

    return target


def idx_whole(content: bytes, folder: Path) -> None:
    path = folder / "whole-ubyte"
    path.write_bytes(content)
    tried(lambda: read_idx(path), path.name)


def archive_of_images(content: bytes, folder: Path) -> None:
    path = folder / "set.npz"
    path.write_bytes(content)
    tried(lambda: load_any(str(path)), path.name)


# --- settings, rows ---


def settings_file(content: bytes, folder: Path) -> None:
    """Take the options of a training from a TOML file."""
    path = folder / "settings.toml"
    path.write_bytes(content)
    # The words of a value that is out of its range name the option.
    tried(lambda: TRAIN.make_context("train", ["--config", str(path)]), path.name, "--", "'")


JUDGED_BY = {"run": "a", "score": "smooth", "alpha": 0.05, "fdr": None, "threshold": 1.0, "segment": False}


def scores_file(content: bytes, folder: Path) -> None:
    path = folder / "scores.csv"
    path.write_bytes(content)
    tried(lambda: read_scores(path), path.name)


def rows_under_way(form: str) -> Target:
    """Go on with the rows of a call that was ended."""

    def target(content: bytes, folder: Path) -> None:
        path = folder / f"rows.{form}"
        part = folder / f"rows.{form}.part"
        part.write_bytes(content)
        (folder / f"rows.{form}.part.json").write_text(json.dumps(JUDGED_BY))

        def go_on() -> None:
            with RowFile(path, form, JUDGED_BY, resume=True) as file:
                list(file.kept_rows())
                file.finish({}, fdr=0.1)

        tried(go_on, path.name)
        path.unlink(missing_ok=True)

    return target


def shard(form: str, of_record: bool) -> Target:
    """Merge a shard: its rows, or the record beside it."""

    def target(content: bytes, folder: Path) -> None:
        path = folder / f"shard.{form}"
        beside = shards.record_path(path)
        path.write_bytes(SEEDS[f"rows.{form}"][0])
        beside.write_bytes(SHARD.replace(b'"csv"', f'"{form}"'.encode()))
        (beside if of_record else path).write_bytes(content)
        output = folder / "all.csv"
        tried(lambda: shards.merge([path], output, "csv", fdr=0.1), path.name, "shard", "all.csv")
        output.unlink(missing_ok=True)

    return target


# --- run folders ---


def run_file(name: str) -> Target:
    """Read a run whose file of this name holds these bytes, in every way in which runs are read."""

    def target(content: bytes, folder: Path) -> None:
        run = folder / "run"
        if not run.exists():
            shutil.copytree(a_run(), run)
        unfinished = name == runs.CHECKPOINT
        if unfinished:
            (run / runs.CONFIG).unlink(missing_ok=True)
        whole = (run / name).read_bytes() if (run / name).exists() else None
        (run / name).write_bytes(content)
        try:
            tried(lambda: listing.describe_run(run), str(run))
            tried(lambda: results.read_evaluation(run), str(run))
            tried(lambda: results.read_comparison(run), str(run))
            if unfinished:
                tried(lambda: _checkpoint(run), str(run))
            else:
                tried(lambda: _scored(run), str(run))
        finally:
            if whole is None:
                (run / name).unlink()
            else:
                (run / name).write_bytes(whole)

    return target


def _checkpoint(run: Path) -> None:
    _, _, kept = record.read_checkpoint(run)
    saving.check_checkpoint(run, kept.settings)


def _scored(run: Path) -> None:
    fitted = saving.read(run, torch.device("cpu"))
    assert all(np.isfinite(scores).all() for scores in fitted.calibration.values())


_MADE: list[Path] = []


def a_run() -> Path:
    """A small run with an evaluation, a comparison and a checkpoint, made once; it stays as long as the process."""
    if _MADE:
        return _MADE[0]
    made = Path(tempfile.mkdtemp(prefix="fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    folder = made / "run"
    split = load_dataset("digits").one_class(normal=[0], seed=0)
    detector = Detector(hidden=(8,), latent_dim=4, epochs=1, batch_size=64, neighbours=2, members=2)
    detector.fit(split.train.images[:80], split.validation.images[:20], split.calibration.images[:20])
    detector.save(folder)
    rng = np.random.default_rng(0)
    scores = rng.random(20)
    evaluation = evaluate(scores, np.arange(20) >= 10, np.arange(20) % 10, alpha=0.1, threshold=0.5)
    document = results.evaluation_document(evaluation, run="run", dataset="digits", normal=[0], rule="smooth")
    results.write_evaluation(folder, document, evaluation)
    results.write_comparison(folder, {"rows": [{"method": "anomalae", "roc_auc": 0.5}]}, {"anomalae": scores})
    arrays = {"model.a": np.zeros(3, np.float32)}
    record.write_checkpoint(folder, arrays, record.read_record(folder), 1)
    _MADE.append(folder)
    return folder


RUN_FILES = (
    runs.CONFIG, runs.HISTORY, runs.EVALUATION, runs.SCORES, runs.COMPARISON, runs.COMPARISON_SCORES,
    runs.WEIGHTS, runs.CALIBRATION, runs.NEIGHBOURS, runs.PATHWAY, runs.CHECKPOINT,
)  # fmt: skip


# --- what is mutated ---


def _picture(form: str, mode: str = "L", **how: object) -> bytes:
    levels = np.zeros((12, 14), np.uint8)
    levels[3:9, 5:8] = 200
    image = Image.fromarray(levels).convert(mode)
    content = io.BytesIO()
    image.save(content, form, **how)
    return content.getvalue()


def _pages() -> list[Image.Image]:
    return [Image.new("L", (9, 9), level) for level in (0, 90)]


def _saved(write: Callable[[io.BytesIO], None]) -> bytes:
    content = io.BytesIO()
    write(content)
    return content.getvalue()


IMAGES = np.arange(3 * 28 * 28, dtype=np.int64).reshape(3, 28, 28).astype(np.uint8)
IDX = struct.pack(">HBB3I", 0, 8, 3, *IMAGES.shape) + IMAGES.tobytes()
CSV = b"path,score,p_value,flagged,error\na.png,0.5,0.9,0,\nb.png,2.5,0.01,1,\nc.png,,,,c.png: broken\n"
JSONL = b"".join(
    json.dumps(dict(zip(("path", "score", "p_value", "flagged", "error"), row, strict=True))).encode() + b"\n"
    for row in (("a.png", 0.5, 0.9, False, None), ("c.png", None, None, None, "c.png: broken"))
)
SHARD = json.dumps(
    {**JUDGED_BY, "shard": "1/1", "format": "csv", "paths": ["a"], "n": 3, "spreadsheet": False}
).encode()
TOML = b'epochs = 3\nhidden = [32, 16]\nmodel = "vae"\nnormal = "0"\nquiet = true\nviews = "pixels"\n'

SEEDS: dict[str, list[bytes]] = {
    "a.png": [_picture("PNG"), _picture("PNG", "P"), _picture("PNG", "RGBA"), _picture("PNG", "1"),
              _picture("PNG", "I;16")],
    "a.jpg": [_picture("JPEG"), _picture("JPEG", "RGB", progressive=True), _picture("JPEG", "CMYK")],
    "a.tif": [_picture("TIFF"), _picture("TIFF", compression="tiff_deflate"), _picture("TIFF", "F"),
              _saved(lambda to: _pages()[0].save(to, "TIFF", save_all=True, append_images=_pages()))],
    "a.gif": [_picture("GIF"),
              _saved(lambda to: _pages()[0].save(to, "GIF", save_all=True, append_images=_pages()))],
    "a.webp": [_picture("WEBP", lossless=True), _picture("WEBP", "RGBA"),
               _saved(lambda to: _pages()[0].save(to, "WEBP", save_all=True, append_images=_pages()))],
    "a.bmp": [_picture("BMP"), _picture("BMP", "RGB")],
    "a.pgm": [_picture("PPM"), b"P2\n3 2\n255\n0 9 8\n1 200 3\n"],
    "a-idx3-ubyte": [IDX],
    "a-idx3-ubyte.gz": [gzip.compress(IDX)],
    "a.npy": [_saved(lambda to: np.save(to, IMAGES)), _saved(lambda to: np.save(to, IMAGES[0] / 255)),
              _saved(lambda to: np.save(to, np.asfortranarray(IMAGES)))],
    "a.npz": [_saved(lambda to: np.savez(to, a=IMAGES)), _saved(lambda to: np.savez_compressed(to, a=IMAGES[:2]))],
    "whole-ubyte": [IDX, gzip.compress(IDX)],
    "set.npz": [_saved(lambda to: np.savez(to, images=IMAGES.repeat(4, 0), labels=np.arange(12) % 2))],
    "settings.toml": [TOML],
    "scores.csv": [CSV],
    "rows.csv": [CSV],
    "rows.jsonl": [JSONL],
    "shard.csv": [CSV],
    "shard.jsonl": [JSONL],
    "shard.json": [SHARD],
}  # fmt: skip

TARGETS: dict[str, Target] = {
    **{name: read_images(name) for name in SEEDS if name.startswith("a")},
    "whole-ubyte": idx_whole,
    "set.npz": archive_of_images,
    "settings.toml": settings_file,
    "scores.csv": scores_file,
    "rows.csv": rows_under_way("csv"),
    "rows.jsonl": rows_under_way("jsonl"),
    "shard.csv": shard("csv", of_record=False),
    "shard.jsonl": shard("jsonl", of_record=False),
    "shard.json": shard("csv", of_record=True),
    **{f"run/{name}": run_file(name) for name in RUN_FILES},
}


def seeds(name: str) -> list[bytes]:
    """Whole files for a target, of which others are made."""
    if name in SEEDS:
        return SEEDS[name]
    path = a_run() / name.removeprefix("run/")
    return [path.read_bytes() if path.exists() else save({"0.mean": np.zeros(3, np.float32)})]
