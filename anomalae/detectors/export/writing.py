"""Exporting a detector: its graph becomes an ONNX model, which is kept if its verdicts are the detector's."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from anomalae import files
from anomalae.arithmetic import PLAIN, computing
from anomalae.detectors.detector import Detector
from anomalae.detectors.export.comparing import Comparison, compare
from anomalae.detectors.export.digests import digests
from anomalae.detectors.export.engine import OnnxDetector
from anomalae.detectors.export.graph import Decoder, Graph
from anomalae.detectors.export.names import (
    ALPHA,
    CODES,
    DECODED,
    DIGEST,
    DIGESTED,
    FORMAT_VERSION,
    IMAGES,
    METADATA,
    OPSET,
    TOLERANCE,
)
from anomalae.detectors.probe import made_images
from anomalae.errors import AnomalaeError, BundleError, ConfigError, PartError
from anomalae.evaluation.conformal import check_alpha
from anomalae.plugins import SCORES
from anomalae.runs.environment import versions_of
from anomalae.settings import DEFAULT_ALPHA

if TYPE_CHECKING:
    from onnx import ModelProto

# Images by which the graph is traced: more than one, which would be taken for a number that is always the same.
TRACED = 3


def export(
    detector: Detector,
    path: str | Path,
    images: np.ndarray,
    *,
    source: str = "arrays",
    rule: str | None = None,
    alpha: float = DEFAULT_ALPHA,
    calibration: str | None = None,
    run: str = "",
    tolerance: float = TOLERANCE,
    decoder: str | Path | None = None,
    on_scored: Callable[[int], None] = lambda done: None,
) -> Comparison:
    """Write a detector as an ONNX model, if its verdicts are the detector's.

    path: of the file; one that is there is replaced, and stays as it is where anything fails.
    images: by which both are compared, canonical, uint8 (N, 28, 28), at least one.
    source: where they came from, in words.
    rule: by which the model scores; None is the detector's own.
    alpha: false-alarm level, above 0 and below 1, that the model has where it is given none.
    calibration: name of one of the detector's calibrations; None is its own.
    run: name of the run, for the record.
    tolerance: standard deviations of the calibration scores by which a score may differ.
    decoder: another file, for the decoder of the first network as a model: codes in, images in its view out; None
        writes none. It is treated like the first, and neither is written alone.
    on_scored: called now and then with the number of images that are compared.

    Returns how far their verdicts differ, which the model's metadata tell too. Raises ConfigError for what `score`
    refuses, where ONNX's packages are not installed, and for parts of others that cannot be in a graph; BundleError
    where a file cannot be written, and where a score differs by more than the tolerance.
    """
    path, beside = Path(path), None if decoder is None else Path(decoder)
    paths = [path] if beside is None else [path, beside]
    for target in paths:
        if target.is_dir():
            raise BundleError(f"{target}: is a folder")
    if beside is not None and path.resolve() == beside.resolve():
        raise ConfigError(f"decoder {beside}: is the file of the model", setting="decoder")
    with files.replacing_all(paths) as write:
        if beside is not None:
            write(beside, exported_decoder(detector))
        model, compared = exported(
            detector,
            images,
            source=source,
            rule=rule,
            alpha=alpha,
            calibration=calibration,
            run=run,
            tolerance=tolerance,
            on_scored=on_scored,
            into=str(path),
        )
        write(path, model)
    return compared


def exported(
    detector: Detector,
    images: np.ndarray,
    *,
    source: str = "arrays",
    rule: str | None = None,
    alpha: float = DEFAULT_ALPHA,
    calibration: str | None = None,
    run: str = "",
    tolerance: float = TOLERANCE,
    on_made: Callable[[bytes], object] = lambda model: None,
    on_scored: Callable[[int], None] = lambda done: None,
    into: str = "model",
) -> tuple[bytes, Comparison]:
    """Return a detector as an ONNX model, the bytes of its file, and how far its verdicts differ from the detector's.

    on_made: called with the model, almost as it will be, before it is compared, which takes longest.
    into: what the model is for, as an error names it.

    Other arguments and errors are those of `export`.
    """
    check_alpha(alpha)
    rule = detector.check_rule(rule)
    detector.calibration_scores(rule, calibration=calibration)
    check_packages()
    told = _described(detector, rule, alpha, calibration, run)
    model = make_model(detector, rule, alpha, calibration)
    _tell(model, told)
    content: bytes = model.SerializeToString()
    on_made(content)
    judging = OnnxDetector(content, threads=detector.threads_used)
    compared = compare(detector, judging, images, source, calibration=calibration, on_scored=on_scored)
    if not compared.relative <= tolerance:
        raise BundleError(
            f"{into}: not written: scores differ by up to {compared.relative:.1e} standard deviations of the "
            f"calibration scores from the detector's, the tolerance is {tolerance:g}"
        )
    scores = judging.run((judging.measured,), made_images())[0].tolist()
    _tell(model, {**told, "tolerance": tolerance, "compared": compared.to_dict(), "probe": scores})
    return model.SerializeToString(), compared


def exported_decoder(detector: Detector) -> bytes:
    """Return the decoder of a detector's first network as an ONNX model, the bytes of its file; errors as of `export`.

    Codes, float32 (N, latent_dim), go in; images of them in the network's view, (N, 28, 28), come out.
    """
    check_packages()
    width = detector.settings.latent_dim
    model = _model(detector, Decoder(detector), (torch.zeros(TRACED, width),), (CODES,), (DECODED,))
    content: bytes = model.SerializeToString()
    return content


def make_model(
    detector: Detector, rule: str, alpha: float = DEFAULT_ALPHA, calibration: str | None = None
) -> ModelProto:
    """Return a detector as an ONNX model that has not been compared with it; arguments and errors as of `export`."""
    import onnx

    graph = Graph(detector, rule, calibration).eval()
    traced = torch.from_numpy(made_images()[:TRACED])
    level = torch.tensor(alpha, dtype=torch.float64)
    model = _model(detector, graph, (traced, level), (IMAGES, ALPHA), graph.output_names)
    # An input that has a value already: one that is left out is this.
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(alpha, np.float64), ALPHA))
    return model


def check_packages() -> None:
    """Raise ConfigError, which names the extra, where a package is missing by which models are made and run."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(name)
        except ImportError:
            raise ConfigError(f"{name}: is not installed; pip install 'anomalae[onnx]'") from None


def _model(
    detector: Detector,
    module: nn.Module,
    traced: tuple[torch.Tensor, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
) -> ModelProto:
    """Return a module as an ONNX model whose first input has any number of rows."""
    shapes = ({0: "N"}, *[None] * (len(traced) - 1))
    try:
        # The views of ours are not compiled then, nor need be what others call.
        with _quiet(), computing(PLAIN), torch.no_grad():
            program = torch.onnx.export(
                module,
                traced,
                dynamo=True,
                verbose=False,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=shapes,
                opset_version=OPSET,
                optimize=False,
            )
            _simplify(program)
    except AnomalaeError:
        raise
    except Exception as error:
        parts = detector.parts
        if not parts:
            raise
        whose = ", ".join(f"{part} (of {origin})" for part, origin in parts.items())
        raise PartError(f"{whose}: cannot be part of an ONNX model: {_reason(error)}") from error
    assert program is not None
    model: Any = program.model_proto
    return model


def _simplify(program: Any) -> None:
    """Fold constants, drop what nobody uses, and let what is there twice be there once.

    The exporter's own optimiser looks for patterns besides, most of which networks like ours lack: half of all time.
    """
    from onnx_ir.passes.common import CommonSubexpressionEliminationPass
    from onnxscript import optimizer

    optimizer.inline(program.model)
    optimizer.fold_constants(program.model)
    CommonSubexpressionEliminationPass()(program.model)
    optimizer.remove_unused_nodes(program.model)


def _reason(error: BaseException) -> str:
    """Return in one line what an error of the exporter began with."""
    while error.__cause__ is not None:
        error = error.__cause__
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def _described(
    detector: Detector, rule: str, alpha: float, calibration: str | None, run: str
) -> dict[str, Any]:
    """Return what a model's metadata tell of the detector, JSON-able."""
    data, own = detector.data, detector.calibrations.get(calibration or "")
    prepared = {"preprocess": data.preprocess, "polarity": data.polarity}
    calibrated: dict[str, Any] = {"name": calibration, "n": len(detector.calibration_scores(rule))}
    if own is not None:
        calibrated = {
            "name": own.name,
            "n": own.n,
            "source": own.source,
            "prepared": {
                "name": own.name,
                "preprocess": own.preprocess,
                "polarity": own.polarity,
                "segment": own.segment,
            },
        }
    return {
        "format_version": FORMAT_VERSION,
        "run": run,
        "fingerprint": detector.fingerprint,
        "created": detector.created,
        "model": detector.settings.short,
        "settings": detector.settings.to_dict(),
        "data": data.name or "arrays",
        "normal": list(data.normal),
        "rule": rule,
        "line": SCORES[rule].line,
        "calibration": calibrated,
        "alpha": alpha,
        "heatmap": {"rule": detector.heatmap_rule(rule), "note": detector.heatmap_note(rule)},
        "prepared": {**prepared, "arrays": data.arrays},
        "parts": detector.parts,
        "versions": versions_of(("torch", "onnx", "onnxscript", "onnxruntime", "numpy")),
        "opset": OPSET,
    }


def _tell(model: ModelProto, told: dict[str, Any]) -> None:
    """Put metadata into a model, in place of those that are there, and the digest of all."""
    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA, value=json.dumps({**told, DIGESTED: True}))
    model.metadata_props.add(key=DIGEST, value=digests(model.SerializeToString())[0])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter says of its work from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
