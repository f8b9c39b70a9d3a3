"""Reading a report's page in tests, and content made by hand."""

from __future__ import annotations

import dataclasses
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from anomalae.evaluation.metrics import Evaluation, evaluate
from anomalae.reports.content import EpochLine, Facts, Gallery, Layer, Picture, RunReport, Trained

VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """The elements of a page, in order, with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._inside: list[str] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._inside.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            while self._inside.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if "script" in self._inside:
            self.scripts[-1] += data
        elif "style" not in self._inside:
            self.words.append(data)

    @property
    def text(self) -> str:
        """What is to be read, white space made single."""
        return " ".join(" ".join(self.words).split())

    @property
    def data(self) -> Any:
        """The JSON inlined for the script."""
        return json.loads(self.scripts[0])

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of this name."""
        return [attributes for name, attributes in self.elements if name == tag]


def scored(n_normal: int, n_anomalous: int, labels: Any = None, seed: int = 0, **more: Any) -> Evaluation:
    """An evaluation of random scores, anomalies higher."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n_normal + n_anomalous) >= n_normal
    scores = rng.gamma(4, 0.01, truth.size) * np.where(truth, 3, 1)
    calibration = rng.gamma(4, 0.01, 99)
    p = (1 + (calibration[None] >= scores[:, None]).sum(1)) / 100
    names = np.where(truth, "1", "0") if labels is None else labels
    given = {"threshold": float(np.sort(calibration)[-5]), "p_values": p} | more
    return evaluate(scores, truth, names, **given)


def picture(evaluation: Evaluation, index: int, name: str = "test image") -> Picture:
    """A noisy picture of one of its images."""
    rng = np.random.default_rng(index)
    assert evaluation.labels is not None
    return Picture(
        name=f"{name} {index}",
        score=float(evaluation.scores[index]),
        p_value=0.5,
        flagged=bool(evaluation.flagged[index]),
        label=str(evaluation.labels[index]),
        is_anomaly=bool(evaluation.is_anomaly[index]),
        image=rng.integers(0, 256, (28, 28), dtype=np.uint8),
        reconstruction=rng.random((28, 28)),
        terms=rng.normal(0, 1e-3, (28, 28)),
    )


def run_report(evaluation: Evaluation, name: str = "by-hand", n_pictures: int = 2, **more: Any) -> RunReport:
    """A report of this evaluation, everything else made up; `more` replaces what the run is."""
    facts = Facts(
        commands=("anomalae train --normal 0",),
        seed=0,
        settings={"model": "ae"},
        versions={"python": "3"},
        counts={"training": 80, "validation": 5, "calibration": 99, "test": evaluation.scores.size},
        hashes={"train": "aa", "test": "bb"},
        verified=False,
        created="2026-01-02T03:04:05+00:00",
        seconds=1.5,
        machine="cpu, 1 thread",
    )
    trained = Trained(
        name=name,
        path=name,
        dataset="digits",
        normal=("0",),
        anomalous=("1",),
        model="dense autoencoder",
        rule="smooth",
        heat_note="terms of smooth, whose absolute values sum to the score",
        heat_scale=1e-3,
        n_calibration=99,
        layers=(Layer("encoder", "Linear", "784 → 8", 6280),),
        history=(EpochLine(1, 2.0, 1.5, 0.001), EpochLine(2, 1.0, None, 0.0)),
        validation={},
        facts=facts,
    )
    shown = tuple(picture(evaluation, i) for i in range(min(n_pictures, evaluation.scores.size)))
    return RunReport(
        trained=dataclasses.replace(trained, **more),
        evaluation=evaluation,
        metrics={"run": name, **evaluation.to_dict()},
        scores_csv="index,label,is_anomaly,score,p_value,flagged\n",
        rank=5,
        band=(0.01, 0.09),
        galleries=(Gallery("Highest scores", "", shown),) if shown else (),
    )
