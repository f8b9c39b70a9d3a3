"""Run folders: their names and locks, and what each of their files holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomalae.lazy import front_door

if TYPE_CHECKING:
    from anomalae.runs.calibrations import HOLDER as HOLDER
    from anomalae.runs.calibrations import MOST_CALIBRATIONS as MOST_CALIBRATIONS
    from anomalae.runs.calibrations import OwnCalibration as OwnCalibration
    from anomalae.runs.calibrations import calibration_names as calibration_names
    from anomalae.runs.calibrations import check_free_calibration as check_free_calibration
    from anomalae.runs.calibrations import check_number as check_number
    from anomalae.runs.calibrations import delete_calibration as delete_calibration
    from anomalae.runs.calibrations import describe_calibration as describe_calibration
    from anomalae.runs.calibrations import keep_calibration as keep_calibration
    from anomalae.runs.calibrations import read_calibrations as read_calibrations
    from anomalae.runs.calibrations import write_calibrations as write_calibrations
    from anomalae.runs.folder import CALIBRATION as CALIBRATION
    from anomalae.runs.folder import CALIBRATIONS as CALIBRATIONS
    from anomalae.runs.folder import CHECKPOINT as CHECKPOINT
    from anomalae.runs.folder import COMPARISON as COMPARISON
    from anomalae.runs.folder import COMPARISON_SCORES as COMPARISON_SCORES
    from anomalae.runs.folder import CONFIG as CONFIG
    from anomalae.runs.folder import EVALUATION as EVALUATION
    from anomalae.runs.folder import HISTORY as HISTORY
    from anomalae.runs.folder import MANIFEST as MANIFEST
    from anomalae.runs.folder import MODEL as MODEL
    from anomalae.runs.folder import NEIGHBOURS as NEIGHBOURS
    from anomalae.runs.folder import PATHWAY as PATHWAY
    from anomalae.runs.folder import PROBE as PROBE
    from anomalae.runs.folder import SCORES as SCORES
    from anomalae.runs.folder import WEIGHTS as WEIGHTS
    from anomalae.runs.folder import already_there as already_there
    from anomalae.runs.folder import check_deletable as check_deletable
    from anomalae.runs.folder import check_free as check_free
    from anomalae.runs.folder import check_name as check_name
    from anomalae.runs.folder import create as create
    from anomalae.runs.folder import delete as delete
    from anomalae.runs.folder import is_finished as is_finished
    from anomalae.runs.folder import is_left_over as is_left_over
    from anomalae.runs.folder import is_unfinished as is_unfinished
    from anomalae.runs.folder import list_runs as list_runs
    from anomalae.runs.folder import own_file as own_file
    from anomalae.runs.folder import remove_left_over as remove_left_over
    from anomalae.runs.folder import replace_folder as replace_folder
    from anomalae.runs.folder import resolve as resolve
    from anomalae.runs.folder import slug as slug
    from anomalae.runs.locks import LOCK as LOCK
    from anomalae.runs.locks import is_locked as is_locked
    from anomalae.runs.locks import lock as lock

_HOMES = {
    "HOLDER": "anomalae.runs.calibrations",
    "MOST_CALIBRATIONS": "anomalae.runs.calibrations",
    "OwnCalibration": "anomalae.runs.calibrations",
    "calibration_names": "anomalae.runs.calibrations",
    "check_free_calibration": "anomalae.runs.calibrations",
    "check_number": "anomalae.runs.calibrations",
    "describe_calibration": "anomalae.runs.calibrations",
    "delete_calibration": "anomalae.runs.calibrations",
    "keep_calibration": "anomalae.runs.calibrations",
    "read_calibrations": "anomalae.runs.calibrations",
    "write_calibrations": "anomalae.runs.calibrations",
    "CALIBRATION": "anomalae.runs.folder",
    "CALIBRATIONS": "anomalae.runs.folder",
    "CHECKPOINT": "anomalae.runs.folder",
    "COMPARISON": "anomalae.runs.folder",
    "COMPARISON_SCORES": "anomalae.runs.folder",
    "CONFIG": "anomalae.runs.folder",
    "EVALUATION": "anomalae.runs.folder",
    "HISTORY": "anomalae.runs.folder",
    "MANIFEST": "anomalae.runs.folder",
    "NEIGHBOURS": "anomalae.runs.folder",
    "PATHWAY": "anomalae.runs.folder",
    "MODEL": "anomalae.runs.folder",
    "PROBE": "anomalae.runs.folder",
    "SCORES": "anomalae.runs.folder",
    "WEIGHTS": "anomalae.runs.folder",
    "already_there": "anomalae.runs.folder",
    "check_deletable": "anomalae.runs.folder",
    "check_free": "anomalae.runs.folder",
    "check_name": "anomalae.runs.folder",
    "create": "anomalae.runs.folder",
    "delete": "anomalae.runs.folder",
    "is_finished": "anomalae.runs.folder",
    "is_left_over": "anomalae.runs.folder",
    "LOCK": "anomalae.runs.locks",
    "is_locked": "anomalae.runs.locks",
    "is_unfinished": "anomalae.runs.folder",
    "list_runs": "anomalae.runs.folder",
    "lock": "anomalae.runs.locks",
    "own_file": "anomalae.runs.folder",
    "remove_left_over": "anomalae.runs.folder",
    "replace_folder": "anomalae.runs.folder",
    "resolve": "anomalae.runs.folder",
    "slug": "anomalae.runs.folder",
}

__all__ = list(_HOMES)
__getattr__, __dir__ = front_door(__name__, _HOMES)
