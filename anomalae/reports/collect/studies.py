"""A study's outcomes, put together for its page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from anomalae import text
from anomalae.reports.content import StudyReport
from anomalae.runs.environment import record_environment

if TYPE_CHECKING:
    from anomalae.experiments.kept_cells import Outcome
    from anomalae.experiments.studies.base import Scope, Study


NOTHING, TOO_LITTLE = "No cell gave a result.", "Too few cells gave a result for a line of the table."


def study_report(study: Study, scope: Scope, outcomes: Sequence[Outcome], command: str) -> StudyReport:
    """Return all that a study's page holds.

    outcomes: of all cells of the scope.
    command: that makes it again.
    """
    failed = [outcome for outcome in outcomes if outcome.result is None]
    rows = study.rows(outcomes) if len(failed) < len(outcomes) else []
    machine = record_environment(torch.device("cpu"))
    sources = list({outcome.cell.source.identity: outcome.cell.source for outcome in outcomes}.values())
    several = len(sources) > 1
    facts = {
        "data": "; ".join(
            f"{dataset.name}: {text.count(len(dataset.train))} training images"
            for dataset in (source.load() for source in sources)
        ),
        "cells": f"{text.count(len(outcomes))}, one thread each",
        "arithmetic": machine.arithmetic,
        "processor": machine.processor,
        "versions": ", ".join(f"{name} {version}" for name, version in machine.versions.items()),
        **{
            f"{f'{text.shortened(source.name, 40)} ' if several else ''}{part} part": value
            for source in sources
            for part, value in source.hashes.items()
        },
    }
    return StudyReport(
        study.name,
        study.question,
        study.about,
        study.answer(rows) if rows else (NOTHING if len(failed) == len(outcomes) else TOO_LITTLE,),
        # A column that no row has a value for says nothing.
        tuple(
            (column.key, column.title, column.digits)
            for column in study.columns
            if not rows or any(row.get(column.key) is not None for row in rows)
        ),
        tuple(rows),
        tuple(
            (drawing.name, drawing.title, drawing.caption, drawing.figure, drawing.wide)
            for drawing in (study.drawings(rows, outcomes) if rows else ())
        ),
        study.method(scope),
        scope.quick,
        command,
        (len(outcomes), sum(outcome.seconds for outcome in outcomes)),
        facts,
        tuple(f"{_asked(outcome)}: {outcome.problem}" for outcome in failed),
    )


def _asked(outcome: Outcome) -> str:
    """What a cell was asked for, in a few words."""
    asked = outcome.cell.arguments
    values = {**{name: value for name, value in asked.items() if name != "settings"}, **asked.get("axes", {})}
    shown = [
        f"{name.replace('_', '-')} {text.typed(tuple(value) if isinstance(value, list) else value)}"
        for name, value in values.items()
        if not isinstance(value, dict) and value is not None
    ]
    return text.shortened(", ".join(shown), 120)
