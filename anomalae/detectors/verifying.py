"""Whether a run is whole, and scores as when it was trained."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from anomalae import runs
from anomalae.detectors import saving
from anomalae.detectors.probe import score_probe
from anomalae.detectors.saving import Fitted
from anomalae.errors import AnomalaeError, ConfigError
from anomalae.runs import manifest, results
from anomalae.runs.environment import Environment, choose_device, record_environment
from anomalae.runs.record import read_record
from anomalae.text import count, listed, plural
from anomalae.threads import limited

# Of the largest score of the probe by the same rule. Float32 has seven digits, of which another machine changes the
# last: between runs of each kind of network, ensembles and neighbours, scored here as trained, by the plain arithmetic,
# by that with the instructions of an old processor, and with no more than AVX2, scores differed by 4e-6 at most.
# Changes below the tolerance move no verdict but of scores that close to a threshold, and the hashes see them.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class ProbeResult:
    """How the images of a run's probe score here.

    n_images: number of images.
    differences: by rule the largest difference from the score that was kept, in parts of the largest such score; 0.0
        where all bits are the same.
    environment: what is other here than where the run was trained, in words.
    """

    n_images: int
    differences: Mapping[str, float]
    environment: tuple[str, ...] = ()

    @property
    def same_bits(self) -> bool:
        """Whether all scores have the same bits."""
        return not any(self.differences.values())

    @property
    def largest(self) -> float:
        """The largest difference by any rule."""
        return max(self.differences.values(), default=0.0)

    def in_words(self) -> str:
        """Say what was found, in a sentence."""
        what = f"{plural(self.n_images, 'image')} by {plural(len(self.differences), 'score')}"
        if self.same_bits:
            return f"{what}: the same bits as when it was trained"
        worst = max(self.differences, key=lambda rule: self.differences[rule])
        words = f"{what}: differ by up to {self.largest:.1e} of the largest score ({worst}); tolerance {TOLERANCE:g}"
        if self.largest > TOLERANCE:
            return words
        why = listed(self.environment) if self.environment else "perhaps another processor of the same sort"
        return f"{words}; another machine's arithmetic: {why}"


@dataclass(frozen=True)
class Verification:
    """What was found of a run.

    folder: of the run.
    faults: what is wrong, a line each; none of a sound run.
    notes: what could not be checked, and why.
    files: `same`, `changed`, `missing`, `extra`, or why it cannot be read, by the name of the file; empty without a
        manifest.
    format_version: of its `config.json`; None where that is broken.
    n_weights: numbers in its networks, all of them finite; None where they cannot be read.
    probe: how its probe scores here; None where it has none, or cannot score.

    >>> Verification(Path("runs/zero"), faults=("runs/zero/weights.safetensors: changed",)).sound
    False
    """

    folder: Path
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    format_version: int | None = None
    n_weights: int | None = None
    probe: ProbeResult | None = None

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        probe = self.probe and {
            "n_images": self.probe.n_images,
            "same_bits": self.probe.same_bits,
            "largest_difference": self.probe.largest,
            "tolerance": TOLERANCE,
            "differences": dict(self.probe.differences),
            "environment": list(self.probe.environment),
        }
        return {
            "run": self.folder.resolve().name,
            "path": str(self.folder),
            "sound": self.sound,
            "faults": list(self.faults),
            "notes": list(self.notes),
            "files": dict(self.files),
            "format_version": self.format_version,
            "n_weights": self.n_weights,
            "probe": probe,
        }

    def in_words(self) -> list[tuple[str, str]]:
        """Return what was checked, and in words what was found."""
        same = [name for name, state in self.files.items() if state == "same"]
        rows = [("run", str(self.folder))]
        if self.files:
            rows.append(("files", f"{len(same)} of {len(self.files)} as the training left them"))
        if self.format_version is not None:
            rows.append(("format", f"version {self.format_version}"))
        if self.n_weights is not None:
            rows.append(("weights", f"{count(self.n_weights)}, all finite"))
        if self.probe is not None:
            rows.append(("probe", self.probe.in_words()))
        rows += [("not checked", note) for note in self.notes]
        rows += [("fault", fault) for fault in self.faults]
        verdict = "sound" if not self.notes else "sound, as far as could be checked"
        return [*rows, ("verdict", verdict if self.sound else plural(len(self.faults), "fault"))]


def verify(folder: str | Path, *, device: str = "auto", threads: int | None = None) -> Verification:
    """Check a run: its files by their hashes, its format, that its weights are finite, and how its probe scores.

    Evaluation and comparison, which come later, are read, and are no change.

    folder: of a finished run.
    device: where it scores; `auto` is where it was trained, if that is there.
    threads: by how many it scores; None is by as many as it was trained with, if there are so many processors.

    Returns what was found: what is wrong with a run is a fault there, and no error. Raises BundleError for a folder
    that is no run, or an unfinished one.

    >>> from tempfile import TemporaryDirectory
    >>> from anomalae import Detector, load_dataset
    >>> split = load_dataset("digits").one_class(normal=[0])
    >>> detector = Detector(epochs=1, hidden=(16,)).fit(split.train.images)
    >>> with TemporaryDirectory() as folder:
    ...     detector.save(f"{folder}/zeros")
    ...     found = verify(f"{folder}/zeros")
    >>> found.sound, found.probe.same_bits
    (True, True)
    """
    folder = Path(folder)
    if not runs.is_finished(folder):
        # Says what it is instead.
        read_record(folder)
    found = _load(_check_files(Verification(folder)), device, threads)
    for read in (results.read_evaluation_document, results.read_evaluation, results.read_comparison):
        try:
            read(folder)
        except AnomalaeError as error:
            found = _with(found, fault=str(error))
    return found


def _check_files(found: Verification) -> Verification:
    try:
        hashes = manifest.read_manifest(found.folder)
    except AnomalaeError as error:
        return _with(found, fault=str(error))
    if hashes is None:
        path = found.folder / runs.MANIFEST
        # They are written together.
        if os.path.lexists(found.folder / runs.PROBE):
            return _with(found, fault=f"{path}: missing")
        return _with(found, note="files: the run has no hashes of them, as runs from before there were any")
    compared = manifest.compare_files(found.folder, hashes)
    faults = [f"{found.folder / name}: {state}" for name, state in compared.items() if state != "same"]
    return replace(found, files=compared, faults=(*found.faults, *faults))


def _load(found: Verification, device: str, threads: int | None) -> Verification:
    """Read the run, and score its probe."""
    try:
        record = read_record(found.folder)
        found = replace(found, format_version=record.to_dict()["format_version"])
        if device == "auto":
            device = _there(record.environment.device)
        if threads is None:
            threads = min(record.environment.threads, os.cpu_count() or 1)
        with limited(threads):
            fitted = saving.read(found.folder, choose_device(device))
            networks = [member.network for member in fitted.ensemble.networks]
            n_weights = sum(
                tensor.numel() for network in networks for tensor in network.state_dict().values()
            )
            found = replace(found, n_weights=n_weights)
            for fault in fitted.broken_calibrations.values():
                found = _with(found, fault=fault)
            return _score(found, fitted)
    except AnomalaeError as error:
        return found if _is_told(found, str(error)) else _with(found, fault=str(error))


def _is_told(found: Verification, fault: str) -> bool:
    """Tell whether a file that is missing is named already."""
    return any(
        f"{found.folder / name}: no such file" == fault
        for name, state in found.files.items()
        if state == "missing"
    )


def _score(found: Verification, fitted: Fitted) -> Verification:
    """Score the probe of a run that is read, by all rules at once, as when it was trained."""
    ensemble, probe = fitted.ensemble, fitted.probe
    if probe is None:
        note = "scores: the run has no probe, as runs from before there were any"
        return found if runs.PROBE in found.files else _with(found, note=note)
    rules = [rule for rule in probe.scores if rule in fitted.calibration]
    scores = score_probe(ensemble, probe.images, rules)
    here = record_environment(ensemble.first.device, ensemble.first.arithmetic)
    differences = {rule: _difference(scores[rule], probe.scores[rule]) for rule in rules}
    result = ProbeResult(len(probe.images), differences, _differing(fitted.record.environment, here))
    found = replace(found, probe=result)
    for rule in sorted(set(probe.scores) - set(rules)):
        found = _with(found, note=f"score {rule}: its package is not installed here")
    for rule, difference in differences.items():
        if not difference <= TOLERANCE:
            words = f"differs by {difference:.1e} of its largest score, the tolerance is {TOLERANCE:g}"
            found = _with(
                found, fault=f"{found.folder}: does not score as when it was trained: {rule} {words}"
            )
    return found


def _difference(here: np.ndarray, there: np.ndarray) -> float:
    if np.array_equal(here, there):
        return 0.0
    # Far below any score, and above what has no reciprocal.
    return float(np.abs(here - there).max() / max(np.abs(there).max(), 1e-30))


def _there(device: str) -> str:
    try:
        choose_device(device)
    except ConfigError:
        return "auto"
    return device


def _differing(there: Environment, here: Environment) -> tuple[str, ...]:
    """Return in words what is other here than where a run was trained."""
    names = ("device", "processor", "threads", "arithmetic", "platform")
    pairs = [(name, getattr(there, name), getattr(here, name)) for name in names]
    pairs += [(name, there.versions.get(name, "unknown"), version) for name, version in here.versions.items()]
    return tuple(f"{name} {before} there, {now} here" for name, before, now in pairs if before != now)


def _with(found: Verification, *, fault: str = "", note: str = "") -> Verification:
    """Return it with one fault or note more."""
    faults = (*found.faults, fault) if fault else found.faults
    return replace(found, faults=faults, notes=(*found.notes, note) if note else found.notes)
