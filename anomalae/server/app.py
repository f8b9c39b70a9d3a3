"""The application: which runs judge, and what is answered to whom."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from importlib import resources
from typing import Annotated, Any

from fastapi import Body, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from anomalae.detectors.detector import Detector
from anomalae.detectors.judged_rows import COLUMNS, Judged
from anomalae.detectors.judging import Judge
from anomalae.errors import AnomalaeError, ConfigError
from anomalae.images.canonical import POLARITIES, PREPROCESSES
from anomalae.images.inputs import Reading
from anomalae.server import described, reference
from anomalae.server.batching import Batcher, ClosedError
from anomalae.server.guards import Guard
from anomalae.server.limits import Limits, RefusedError, json_error
from anomalae.server.looking import FARTHEST, decoded, looked
from anomalae.server.meters import Meters
from anomalae.server.uploads import Uploaded, read_lists, read_upload
from anomalae.settings import DEFAULT_ALPHA
from anomalae.text import printable
from anomalae.version import __version__

PATHS = ("/score", "/look", "/decode", "/health", "/runs", "/metrics", "/docs", "/openapi.json", "/")
# The page on which one draws: address, file and kind of each of its parts. Nothing comes from elsewhere.
PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/reference.css": ("reference.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/server.js": ("server.js", "text/javascript"),
}
# Fields of a form that are no files: none are taken, and a few are needed to say so.
MOST_FIELDS = 10
_NO_VERDICT = (None, None, None)
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
# Whoever asks may be refused so, whatever is asked for.
_ALWAYS = described.refused(403, 408, 413, 429)


class Served:
    """The runs that judge, and what each request is judged by unless it says otherwise.

    detectors: by the name of their run, the first of which judges where none is named.
    alpha: false-alarm level.
    calibration: name of one of their calibrations; None is each run's own.

    Raises ConfigError where a run lacks that calibration.
    """

    def __init__(
        self,
        detectors: Mapping[str, Detector],
        *,
        alpha: float = DEFAULT_ALPHA,
        calibration: str | None = None,
    ) -> None:
        self.detectors, self.alpha, self.calibration = dict(detectors), alpha, calibration
        for detector in self.detectors.values():
            Judge(detector, alpha=alpha, calibration=calibration)

    def judge(
        self, run: str = "", rule: str = "", alpha: float | None = None, calibration: str = ""
    ) -> tuple[str, Detector, Judge]:
        """Return the name of the run that judges, its detector and its judge. Raises RefusedError for what it lacks.

        What is empty is the first run, and its own; so is an alpha of None.
        """
        name = run or next(iter(self.detectors))
        if name not in self.detectors:
            raise RefusedError(404, f"run {name!r}: there is none here; GET /runs lists them")
        try:
            judge = Judge(
                self.detectors[name],
                rule or None,
                alpha=self.alpha if alpha is None else alpha,
                calibration=calibration or self.calibration,
            )
        except ConfigError as error:
            raise RefusedError(422, str(error)) from None
        return name, self.detectors[name], judge

    def told(self) -> list[dict[str, Any]]:
        """Return what each run is, JSON-able."""
        return [{**_told(name, one), "calibration": self.calibration} for name, one in self.detectors.items()]


def _told(name: str, detector: Detector) -> dict[str, Any]:
    data, settings = detector.data, detector.settings
    return {
        "run": name,
        "dataset": data.name,
        "normal": [str(label) for label in data.normal],
        "model": settings.model,
        "score": settings.rule,
        "scores": list(detector.rules),
        "n_calibration": detector.n_calibration,
        "calibrations": sorted(detector.calibrations),
        "latent_dim": settings.latent_dim if settings.kind.density else None,
    }


def application(
    served: Served,
    *,
    hosts: Iterable[str],
    limits: Limits | None = None,
) -> Guard:
    """Make the application, as an ASGI server runs it.

    served: the runs.
    hosts: names by which the server may be asked for.
    limits: of requests.
    """
    limits, meters = limits or Limits(), Meters(PATHS)
    batcher = Batcher(lambda n: meters.batch.observe(n))
    # One upload is read at a time: what readers do about warnings is not for several threads.
    reading = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(batcher.close)

    app = FastAPI(
        title="anomalae",
        version=__version__,
        description="Judges images by trained runs: score, conformal p-value, flag.",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        responses=_ALWAYS,
    )

    def asked(description: str, names: Iterable[str]) -> Any:
        # Empty is as if it were not there.
        return Query("", description=description, json_schema_extra={"enum": ["", *names]})

    detectors = served.detectors.values()
    rules = dict.fromkeys(rule for one in detectors for rule in one.rules)
    calibrations = dict.fromkeys(name for one in detectors for name in sorted(one.calibrations))
    run_asked = asked("Name of the run. Default: the first of GET /runs.", served.detectors)
    rule_asked = asked("Rule of the score. Default: the run's own.", rules)
    alpha_asked = Query(None, gt=0, lt=1, description=f"False-alarm level. Default: {served.alpha:g}.")
    own = served.calibration or "that of the run"
    calibration_asked = asked(f"Name of a calibration of one's own. Default: {own}.", calibrations)
    preprocess_asked = asked("How pictures become canonical. Default: as in training.", PREPROCESSES)
    polarity_asked = asked("Ink, light or dark. Default: as in training.", POLARITIES)

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, error: ClientDisconnect) -> Response:
        # Nobody waits for an answer; it is counted as proxies count it.
        return Response(status_code=499)

    @app.exception_handler(AnomalaeError)
    async def refused(request: Request, error: AnomalaeError) -> JSONResponse:
        status = (
            error.status
            if isinstance(error, RefusedError)
            else 503
            if isinstance(error, ClosedError)
            else 422
        )
        return JSONResponse(json_error(str(error)), status)

    @app.exception_handler(HTTPException)
    async def no_such(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(json_error(str(error.detail)), error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(json_error("this is a fault of the server; its log has more"), 500)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "body"
        return JSONResponse(json_error(f"{where}: {first['msg']}"), 422)

    @app.post(
        "/score",
        summary="Judge images",
        openapi_extra={"requestBody": described.UPLOAD},
        responses={200: described.JUDGED, **described.refused(400, 404, 415, 422, 503)},
        response_model=None,
    )
    async def score(
        request: Request,
        run: str = run_asked,
        score: str = rule_asked,
        alpha: float | None = alpha_asked,
        calibration: str = calibration_asked,
        preprocess: str = preprocess_asked,
        polarity: str = polarity_asked,
    ) -> Response:
        """Take files (`multipart/form-data`), `{"images": [...]}` of levels from 0 to 255 (JSON), or one file as it is
        (`application/octet-stream`): a picture, an IDX file, an `.npy` array (N, 28, 28).

        Rows are as those of `anomalae score --format json`; one that cannot be read has an `error`. Where none can be
        read the answer is an error.
        """
        name, detector, judge = served.judge(run, score, alpha, calibration)
        how = _how(detector, preprocess, polarity)
        began = time.perf_counter()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            uploaded = await _files(request, how, limits, reading)
        elif kind == "application/json":
            body = await request.body()
            uploaded = await _read(reading, read_lists, body, how, limits)
        elif kind in (
            "application/octet-stream",
            "application/x-npy",
            "application/x-npz",
        ) or kind.startswith("image/"):
            body = await request.body()
            if not body:
                raise RefusedError(422, "the body is empty")
            uploaded = await _read(reading, read_upload, "upload", body, how, limits)
        else:
            raise RefusedError(
                415,
                f"content type {kind or 'missing'!r}: send multipart/form-data, application/json or "
                "application/octet-stream",
            )
        answer = await run_in_threadpool(_judged, name, detector, judge, uploaded, batcher)
        meters.seconds.observe(time.perf_counter() - began)
        for verdict, n in (("flagged", answer["n_flagged"]), ("failed", answer["n_failed"])):
            meters.judged.labels(name, verdict).inc(n)
        meters.judged.labels(name, "passed").inc(answer["n"] - answer["n_flagged"] - answer["n_failed"])
        # Written at once: what FastAPI would look for in so many rows is not there.
        return Response(json.dumps(answer), media_type="application/json")

    @app.post(
        "/look",
        summary="Look at one image through a run",
        openapi_extra={"requestBody": described.OCTETS},
        responses={200: described.LOOKED, **described.refused(404, 422, 503)},
        response_model=None,
    )
    async def look(
        request: Request,
        run: str = run_asked,
        score: str = rule_asked,
        alpha: float | None = alpha_asked,
        calibration: str = calibration_asked,
        polarity: str = polarity_asked,
    ) -> dict[str, Any]:
        """Take one picture as it is, and tell its verdict and, as PNG in data URIs, what the run makes of it.

        Of a file that holds several it is the first; `n_images` says how many there are.
        """
        _, detector, judge = served.judge(run, score, alpha, calibration)
        how = _how(detector, "", polarity)
        body = await request.body()
        if not body:
            raise RefusedError(422, "the body is empty")
        uploaded = await _read(reading, read_upload, "picture", body, how, limits)
        if uploaded.errors[0] is not None:
            raise RefusedError(422, uploaded.errors[0])
        return await run_in_threadpool(looked, detector, judge, uploaded, batcher)

    @app.post(
        "/decode",
        summary="Decode a code",
        responses={200: described.DECODED, **described.refused(400, 404, 422, 503)},
        response_model=None,
    )
    async def decode(
        code: Annotated[
            list[Annotated[float, Field(ge=-FARTHEST, le=FARTHEST, strict=True)]],
            Body(
                embed=True,
                min_length=1,
                description="Numbers, one a latent dimension of the run.",
                examples=[[0.5, -1.0]],
            ),
        ],
        run: str = run_asked,
    ) -> dict[str, str]:
        """Take a place in the latent space of a run's first network, and return the image that lies there."""
        _, detector, _ = served.judge(run)
        return await run_in_threadpool(decoded, detector, code, batcher)

    @app.get(
        "/health", summary="Whether the server is up", responses={200: described.HEALTH}, response_model=None
    )
    async def health() -> dict[str, Any]:
        return {"status": "ok", "version": __version__, "runs": list(served.detectors)}

    @app.get("/runs", summary="The runs that judge", responses={200: described.RUNS}, response_model=None)
    async def runs() -> list[dict[str, Any]]:
        return served.told()

    @app.get(
        "/metrics",
        summary="Counters for Prometheus",
        response_class=PlainTextResponse,
        responses={200: described.METRICS},
    )
    async def metrics() -> PlainTextResponse:
        meters.under_way.set(guard.under_way)
        return PlainTextResponse(meters.text(), media_type="text/plain; version=0.0.4")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        place = f"http://{request.headers.get('host') or request.url.netloc}"
        return Response(reference.page(app.openapi(), place), media_type="text/html", headers=HEADERS)

    for path, (name, media) in PAGE.items():
        app.add_api_route(path, _part(name, media), include_in_schema=False)

    guard = Guard(app, hosts=hosts, limits=limits, on_answer=meters.answered)
    return guard


def _part(name: str, media: str) -> Callable[[], Awaitable[Response]]:
    """Return what answers with a file of the page."""
    content = (resources.files("anomalae") / "page" / name).read_bytes()

    async def part() -> Response:
        return Response(content, media_type=media, headers=HEADERS)

    return part


def _how(detector: Detector, preprocess: str, polarity: str) -> Reading:
    """Return how pictures are read: as asked, else as in training. Raises RefusedError for what is no way."""
    data = detector.data
    try:
        return Reading(preprocess or data.preprocess, polarity or data.polarity)
    except ConfigError as error:
        raise RefusedError(422, str(error)) from None


async def _files(request: Request, how: Reading, limits: Limits, reading: asyncio.Lock) -> Uploaded:
    """Read the files of a form, in their order, one after another."""
    parts: list[Uploaded] = []
    form = await _form(request, limits)
    try:
        other = [name for name in form if name != "files"]
        if other:
            raise RefusedError(
                422, f"{printable(other[0])}: parts named files were expected, and nothing else"
            )
        given = form.getlist("files")
        uploads = [value for value in given if isinstance(value, UploadFile)]
        if len(uploads) < len(given):
            raise RefusedError(422, "files: a part has no name of a file")
        if not uploads:
            raise RefusedError(422, "files: there are none; send each as a part named files")
        n = 0
        for upload in uploads:
            content = await upload.read()
            name = upload.filename or "upload"
            parts.append(await _read(reading, read_upload, name, content, how, limits))
            n += len(parts[-1].names)
            if n > limits.images:
                raise RefusedError(
                    413, f"more than {limits.images} images, the most that are taken in one request"
                )
    finally:
        await form.close()
    return Uploaded.joined(parts)


async def _form(request: Request, limits: Limits) -> FormData:
    parser = _WholeForm(request.headers, request.stream(), max_files=limits.images, max_fields=MOST_FIELDS)
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise RefusedError(400, error.message) from None


class _WholeForm(MultiPartParser):
    """A form that is refused where its last boundary is missing."""

    is_whole = False

    def on_end(self) -> None:
        self.is_whole = True

    async def parse(self) -> FormData:
        form = await super().parse()
        if not self.is_whole:
            for file in self._files_to_close_on_error:
                file.close()
            raise MultiPartException("the form is cut short: its last boundary is missing")
        return form


async def _read(reading: asyncio.Lock, read: Callable[..., Uploaded], *given: Any) -> Uploaded:
    async with reading:
        return await run_in_threadpool(read, *given)


def _judged(
    name: str, detector: Detector, judge: Judge, uploaded: Uploaded, batcher: Batcher
) -> dict[str, Any]:
    """Return what is answered: what judged, and a row an image. Raises RefusedError where no image can be judged."""
    if not len(uploaded.images):
        raise RefusedError(422, uploaded.errors[0] or "there are no images")
    scores = batcher.score(detector, judge.rule, uploaded.images)
    p_values, flags = judge.verdicts(scores)
    verdicts = zip(scores.tolist(), p_values, flags, strict=True)
    # As `Judged` has them, of which this many are too slowly made.
    rows = [
        dict(zip(COLUMNS, (path, *(next(verdicts) if error is None else _NO_VERDICT), error), strict=True))
        for path, error in zip(uploaded.names, uploaded.errors, strict=True)
    ]
    head = Judged(
        name, judge.rule, judge.alpha, None, judge.threshold, [], calibration=judge.calibrated_by
    ).head
    n_failed = len(rows) - len(scores)
    return {**head, "n": len(rows), "n_flagged": sum(map(bool, flags)), "n_failed": n_failed, "rows": rows}
