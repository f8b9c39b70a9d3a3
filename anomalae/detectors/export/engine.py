"""An exported detector, by onnxruntime alone: PyTorch is not imported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anomalae import runs
from anomalae.detectors.export.digests import digests
from anomalae.detectors.export.names import (
    ALPHA,
    CALIBRATION,
    DIGESTED,
    FOLD_SCORES,
    FORMAT_VERSION,
    HEAT_LEVEL,
    HEATMAP,
    IMAGES,
    LATENT,
    METADATA,
    NEAREST,
    OF_SOME,
    OUTPUTS,
    RECONSTRUCTION,
    SCORE,
)
from anomalae.errors import BundleError, ConfigError, ImageError
from anomalae.evaluation import conformal
from anomalae.images.canonical import check_choices
from anomalae.images.sources import Preparation, stream_images
from anomalae.settings import DEFAULT_ALPHA
from anomalae.text import shown

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# What the metadata hold that is needed to judge.
_TOLD: dict[str, type | tuple[type, ...]] = {
    "run": str,
    "fingerprint": str,
    "rule": str,
    "alpha": float,
    "calibration": dict,
    "heatmap": dict,
    "prepared": dict,
}
# Whether a model is as it was exported.
SAME, CHANGED, UNKNOWN = "same", "changed", "unknown"
# Images that are judged at once; of a model with neighbours fewer, for each is set against many others at once.
TOGETHER, TOGETHER_OF_NEIGHBOURS = 256, 16


@dataclass(frozen=True)
class Prepared:
    """How the pictures of a run become canonical, as a run's own record says it.

    preprocess, polarity, arrays: see `anomalae.images.sources.Preparation`.
    name: of a calibration by images of one's own; empty for the run itself.
    segment: whether they were digits that were cut from pages.
    """

    name: str = ""
    preprocess: str = "auto"
    polarity: str = "auto"
    arrays: str = ""
    segment: bool = False


class OnnxDetector:
    """An exported detector judges images as the detector does that it was made from, by one score and calibration.

    source: path of a model that `export` wrote, or its bytes.
    threads: CPU threads that it computes by, at least 1; None is one for dense networks alone, else as many as
        onnxruntime chooses.
    checked: whether a model is refused that was changed since it was exported, by accident as a rule: see `state`.

    Images are given in any of the forms that `anomalae.Detector` takes; floats must be grey levels of uint8.

    Attribute `state`: `same` where the model is as it was exported, by a SHA-256 of all of it that is in its metadata;
    `changed` where it is not, and `unknown` where it has none, as those of before there was any.

    Raises BundleError for a file that is no such model, and for one that was changed; ConfigError where onnxruntime is
    not installed.

    >>> OnnxDetector("nothing.onnx")
    Traceback (most recent call last):
    anomalae.errors.BundleError: nothing.onnx: no such file
    """

    def __init__(
        self, source: str | Path | bytes, *, threads: int | None = None, checked: bool = True
    ) -> None:
        self.path = Path("model.onnx") if isinstance(source, bytes) else Path(source)
        if not isinstance(source, bytes) and not self.path.is_file():
            raise BundleError(f"{self.path}: {'is a folder' if self.path.is_dir() else 'no such file'}")
        self.session = _session(source, self.path, threads)
        self.told = _told(self.session, self.path)
        self.state = _state(source if isinstance(source, bytes) else self.path.read_bytes(), self.told)
        if checked and self.state == CHANGED:
            raise BundleError(f"{self.path}: was changed after it was exported: its SHA-256 is another")

    def __repr__(self) -> str:
        return f"OnnxDetector({str(self.path)!r})"

    @property
    def name(self) -> str:
        """Name of the run, of the file where it has none."""
        return str(self.told["run"]) or self.path.stem

    @property
    def calibration(self) -> str | None:
        """Name of the calibration that it judges by; None is the run's own."""
        name: str | None = self.told["calibration"].get("name")
        return name

    @property
    def rule(self) -> str:
        """Name of the score."""
        return str(self.told["rule"])

    @property
    def measured(self) -> str:
        """Name of the output that moves little where what the networks compute does: of folds, no rank."""
        return FOLD_SCORES if FOLD_SCORES in self.output_names else SCORE

    @property
    def output_names(self) -> set[str]:
        """Names of its outputs."""
        return {output.name for output in self.session.get_outputs()}

    @property
    def rules(self) -> tuple[str, ...]:
        """The one score that the model has."""
        return (self.rule,)

    @property
    def data(self) -> Prepared:
        """How pictures become canonical."""
        return Prepared(**self.told["prepared"])

    @property
    def calibrations(self) -> dict[str, Prepared]:
        """The calibration by images of one's own that is in the model, by name; none where it is the run's own."""
        if self.calibration is None:
            return {}
        return {self.calibration: Prepared(**self.told["calibration"]["prepared"])}

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the detector that it was made from."""
        return str(self.told["fingerprint"])

    # --- verdicts ---------------------------------------------------------------------------------------------

    def run(self, outputs: Sequence[str], images: np.ndarray, alpha: float | None = None) -> list[np.ndarray]:
        """Compute some of the model's outputs, of one batch, however large.

        outputs: names, see `anomalae.detectors.export.names`.
        images: canonical, uint8 (N, 28, 28).
        alpha: false-alarm level; None is that of the export.
        """
        feeds: dict[str, np.ndarray] = {IMAGES: images}
        if alpha is not None:
            feeds[ALPHA] = np.array(alpha, np.float64)
        return list(self.session.run(list(outputs), feeds))

    def judge(
        self,
        images: Any,
        outputs: Sequence[str] = (SCORE,),
        *,
        alpha: float | None = None,
        on_scored: Callable[[int], None] = lambda done: None,
    ) -> dict[str, np.ndarray]:
        """Judge images of any sort, a batch at a time.

        images: N of them, in any of the forms that the class names.
        outputs: names of outputs that have a row an image.
        alpha: as for `run`.
        on_scored: called with the number of images done.

        Returns each output by name, (N, ...). Raises ImageError for unusable images.
        """
        parts: dict[str, list[np.ndarray]] = {name: [] for name in outputs}
        done = 0
        for batch in self._batches(images):
            for name, part in zip(outputs, self.run(outputs, batch, alpha), strict=True):
                parts[name].append(part)
            done += len(batch)
            on_scored(done)
        return {name: np.concatenate(arrays) for name, arrays in parts.items()}

    def score(
        self, images: Any, rule: str | None = None, *, on_scored: Callable[[int], None] = lambda done: None
    ) -> np.ndarray:
        """Score images: float64 (N,), higher = more anomalous. Arguments and errors as of `Detector.score`."""
        self.check_rule(rule)
        return self.judge(images, on_scored=on_scored)[SCORE]

    def p_values(self, images: Any, rule: str | None = None, *, calibration: str | None = None) -> np.ndarray:
        """Return conformal p-values, float64 (N,). Arguments and errors as of `Detector.p_values`."""
        self.check_rule(rule)
        # Not those of the graph: one that was exported before scores had ties would differ from `threshold`.
        return conformal.p_values(self.score(images), self.calibration_scores(rule, calibration=calibration))

    def flags(
        self,
        images: Any,
        alpha: float = DEFAULT_ALPHA,
        rule: str | None = None,
        *,
        calibration: str | None = None,
    ) -> np.ndarray:
        """Tell which images are flagged, bool (N,). Arguments and errors as of `Detector.flags`."""
        conformal.check_alpha(alpha)
        return self.p_values(images, rule, calibration=calibration) <= alpha

    def calibration_scores(self, rule: str | None = None, *, calibration: str | None = None) -> np.ndarray:
        """Return the scores that p-values are ranks among, ascending, float64 (n,)."""
        self.check_rule(rule)
        self._check_calibration(calibration)
        return self._alone(CALIBRATION)

    def threshold(
        self, alpha: float = DEFAULT_ALPHA, rule: str | None = None, *, calibration: str | None = None
    ) -> float | None:
        """Return the score above which images are flagged; None where none can be."""
        return conformal.threshold(self.calibration_scores(rule, calibration=calibration), alpha)

    def check_rule(self, rule: str | None) -> str:
        """Return the rule of this name, None being the model's. ConfigError for one that the model lacks."""
        if rule not in (None, self.rule):
            raise ConfigError(
                f"score {rule!r}: {self.path} scores by {self.rule}",
                unknown=rule,
                advice="exported",
                about="score",
            )
        return self.rule

    def _check_calibration(self, calibration: str | None) -> None:
        """Raise ConfigError for another calibration than the model's, which None stands for."""
        if calibration not in (None, self.calibration):
            judged = "the run's own" if self.calibration is None else self.calibration
            raise ConfigError(
                f"calibration {calibration!r}: {self.path} judges by {judged}",
                unknown=calibration,
                advice="exported",
                about="calibration",
            )

    # --- pictures ---------------------------------------------------------------------------------------------

    def reconstruct(self, images: Any) -> np.ndarray:
        """Rebuild images as `Detector.reconstruct` does: float32 (N, 28, 28) in [0, 1]."""
        return self.judge(images, (RECONSTRUCTION,))[RECONSTRUCTION]

    def heatmap(self, images: Any, rule: str | None = None) -> np.ndarray:
        """Show where the score comes from, as `Detector.heatmap` does: float32 (N, 28, 28), signed."""
        self.check_rule(rule)
        return self.judge(images, (HEATMAP,))[HEATMAP]

    def heatmap_level(
        self, alpha: float = DEFAULT_ALPHA, rule: str | None = None, *, calibration: str | None = None
    ) -> float:
        """Return what the absolute terms of a heatmap sum to, about, at the threshold of alpha."""
        conformal.check_alpha(alpha)
        self.check_rule(rule)
        self._check_calibration(calibration)
        return float(self._alone(HEAT_LEVEL, alpha))

    def heatmap_note(self, rule: str | None = None) -> str:
        """Say what a heatmap shows, in words for people."""
        self.check_rule(rule)
        return str(self.told["heatmap"].get("note", ""))

    def encode(self, images: Any) -> np.ndarray:
        """Return the first network's codes, float32 (N, latent_dim)."""
        return self.judge(images, (LATENT,))[LATENT]

    # --- inside -----------------------------------------------------------------------------------------------

    def _alone(self, output: str, alpha: float | None = None) -> np.ndarray:
        """Return an output that is the same for all images."""
        return self.run((output,), np.zeros((1, 28, 28), np.uint8), alpha)[0]

    def _batches(self, images: Any) -> Iterator[np.ndarray]:
        together = TOGETHER_OF_NEIGHBOURS if NEAREST in self.output_names else TOGETHER
        prepared = self.data
        preparation = Preparation(prepared.preprocess, prepared.polarity, prepared.arrays)
        for part in stream_images(images, preparation=preparation):
            levels = _levels(part)
            for start in range(0, len(levels), together):
                yield levels[start : start + together]


def open_model(run: str | None, runs_dir: str | Path = "runs", *, threads: int | None = None) -> OnnxDetector:
    """Return an exported run.

    run: path of its file, or a run as `anomalae.runs.resolve` takes it, in whose folder the file lies.
    runs_dir: folder that holds the runs.
    threads: as for `OnnxDetector`.

    Raises what `OnnxDetector` and `anomalae.runs.resolve` raise.
    """
    if run is not None and is_model(run):
        return OnnxDetector(run, threads=threads)
    folder = runs.resolve(run, Path(runs_dir))
    path = folder / runs.MODEL
    if not path.is_file():
        raise BundleError(f"{path}: no such file", advice="export", about=folder.name)
    return OnnxDetector(path, threads=threads)


def is_model(name: str) -> bool:
    """Whether a name is the path of an exported model, there or not, and not a run's."""
    return name.lower().endswith(".onnx") and not Path(name).is_dir()


def _levels(images: np.ndarray) -> np.ndarray:
    """Return checked images as uint8; ImageError for floats that are no grey levels."""
    if images.dtype == np.uint8:
        return images
    levels = np.rint(images * np.float32(255)).astype(np.uint8)
    if not np.array_equal(levels.astype(np.float32) / np.float32(255), images):
        raise ImageError("images: floats between two grey levels: an exported model takes uint8")
    return levels


def _session(source: str | Path | bytes, path: Path, threads: int | None) -> InferenceSession:
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError("onnxruntime: is not installed; pip install 'anomalae[onnx]'") from None
    options = onnxruntime.SessionOptions()
    # Errors alone: they are raised besides.
    options.log_severity_level = 4
    options.intra_op_num_threads = threads or 0
    # Threads that wait take nothing from others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        given = source if isinstance(source, bytes) else str(source)
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise BundleError(f"{path}: is no ONNX model that onnxruntime can run: {line}") from None


def _state(content: bytes, told: Mapping[str, Any]) -> str:
    """Return whether a model is as it was exported."""
    try:
        found, kept = digests(content)
    except ValueError:
        return CHANGED
    if kept is None:
        return CHANGED if DIGESTED in told else UNKNOWN
    return SAME if found == kept else CHANGED


def _told(session: InferenceSession, path: Path) -> Mapping[str, Any]:
    """Return the metadata of a model; BundleError for one that does not come from here."""
    text = session.get_modelmeta().custom_metadata_map.get(METADATA)
    if text is None:
        raise BundleError(f"{path}: is an ONNX model, but was not exported by anomalae")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        raise BundleError(f"{path}: its metadata are not valid JSON") from None
    version = told.get("format_version") if isinstance(told, dict) else None
    if version != FORMAT_VERSION:
        raise BundleError(f"{path}: format {shown(version)}: this anomalae reads {FORMAT_VERSION}")
    for name, kind in _TOLD.items():
        if not isinstance(told.get(name), kind):
            raise BundleError(f"{path}: its metadata have no {name}")
    try:
        for part in (told["prepared"], told["calibration"].get("prepared", {})):
            check_choices(Prepared(**part).preprocess, Prepared(**part).polarity)
    except (TypeError, ConfigError) as error:
        raise BundleError(f"{path}: its metadata do not say how pictures become canonical: {error}") from None
    there = {output.name for output in session.get_outputs()}
    missing = [name for name in OUTPUTS if name not in there and name not in OF_SOME]
    if missing or [entry.name for entry in session.get_inputs()] != [IMAGES]:
        raise BundleError(f"{path}: its inputs or outputs are others than those of a model of anomalae")
    return dict(told)
