"""What the description of the interface (OpenAPI) says of bodies and answers, as JSON schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

_FILE: Schema = {"type": "string", "format": "binary", "minLength": 1}
_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_P_VALUE: Schema = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
_ALPHA: Schema = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
_PICTURE: Schema = {"type": "string", "description": "PNG in a data URI."}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(schema: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": schema, **more}


def _object(properties: Mapping[str, Schema], *, optional: tuple[str, ...] = (), **more: Any) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required, **more}


def answer(description: str, schema: Schema, media: str = "application/json") -> dict[str, Any]:
    """Return an answer, as OpenAPI has it."""
    return {"description": description, "content": {media: {"schema": schema}}}


_GREY = _list(_list({"type": "number", "minimum": 0, "maximum": 255}, minItems=1), minItems=1)
_ROW = _object(
    {
        "path": _TEXT,
        "score": _or_null(_NUMBER),
        "p_value": _or_null(_P_VALUE),
        "flagged": _or_null({"type": "boolean"}),
        "error": _or_null(_TEXT),
    }
)

OCTETS: dict[str, Any] = {
    "required": True,
    "content": {"application/octet-stream": {"schema": _FILE}, "image/*": {"schema": _FILE}},
}
UPLOAD: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": _object({"files": _list(_FILE, minItems=1)}, additionalProperties=False)
        },
        "application/json": {
            "schema": _object(
                {"images": {"anyOf": [_list(_GREY, minItems=1), _GREY]}}, additionalProperties=False
            ),
            "example": {"images": [[[0, 0, 0], [0, 255, 0], [0, 0, 0]]]},
        },
        **OCTETS["content"],
    },
}

JUDGED = answer(
    "The verdicts, a row an image.",
    _object(
        {
            "run": _TEXT,
            "score": _TEXT,
            "alpha": _ALPHA,
            "fdr": {"type": "null"},
            "threshold": _or_null(_NUMBER),
            "calibration": _TEXT,
            "n": _COUNT,
            "n_flagged": _COUNT,
            "n_failed": _COUNT,
            "rows": _list(_ROW, minItems=1),
        },
        optional=("calibration",),
    ),
)
LOOKED = answer(
    "The verdict, and pictures of what leads to it.",
    _object(
        {
            "score": _NUMBER,
            "p_value": _P_VALUE,
            "flagged": {"type": "boolean"},
            "alpha": _ALPHA,
            "threshold": _or_null(_NUMBER),
            "rule": _TEXT,
            "n_calibration": _COUNT,
            "folds": _COUNT,
            "calibration": _list(
                _NUMBER, description="Calibration scores, evenly from the least to the largest."
            ),
            "blank": {"type": "boolean"},
            "n_images": {**_COUNT, "description": "Images in what was sent, of which the first is told."},
            "canonical": _PICTURE,
            "seen": _PICTURE,
            "reconstruction": _PICTURE,
            "heatmap": _PICTURE,
            "heat_note": _TEXT,
            "nearest": _list(_PICTURE),
            "code": _or_null(_list(_NUMBER)),
        }
    ),
)
DECODED = answer("The image.", _object({"image": _PICTURE}))
HEALTH = answer("It is up.", _object({"status": _TEXT, "version": _TEXT, "runs": _list(_TEXT)}))
RUNS = answer(
    "The runs; the first judges where none is named.",
    _list(
        _object(
            {
                "run": _TEXT,
                "dataset": _or_null(_TEXT),
                "normal": _list(_TEXT),
                "model": _TEXT,
                "score": _TEXT,
                "scores": _list(_TEXT),
                "n_calibration": _COUNT,
                "calibrations": _list(_TEXT),
                "latent_dim": _or_null(_COUNT),
                "calibration": _or_null(_TEXT),
            }
        ),
        minItems=1,
    ),
)
METRICS = answer("Counters.", _TEXT, "text/plain")

_REFUSED = {
    400: "A body that cannot be taken apart.",
    403: "The request comes from a page of another server, or asks for another name.",
    404: "There is no such run.",
    408: "It took too long.",
    413: "It is too large.",
    415: "A content type that is not taken.",
    422: "A value, or an upload, that cannot be judged.",
    429: "Too much is under way; try again later.",
    503: "The server is stopping.",
}


def refused(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the answers by which so many are refused, in one line each."""
    return {status: answer(_REFUSED[status], _object({"error": _TEXT})) for status in statuses}
