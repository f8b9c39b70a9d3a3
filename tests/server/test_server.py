"""The server: the verdicts of the library, one line for whatever is refused, and nothing that is kept."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import io
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx2 as httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from anomalae import Detector
from anomalae.cli.commands import serve
from anomalae.images import pictures
from anomalae.images.inputs import Reading
from anomalae.server.app import Served, application
from anomalae.server.batching import Batcher, ClosedError
from anomalae.server.connections import make_server
from anomalae.server.guards import LOOPBACK, Guard
from anomalae.server.limits import Limits, RefusedError
from anomalae.server.lists import parse_images
from anomalae.server.uploads import read_lists, read_upload
from tests.cli import fails, run
from tests.conftest import SMALL

LIMITS = Limits(megabytes=0.3, images=60, pixels=10_000, seconds=30, waiting=50)


@pytest.fixture(scope="module")
def detectors(small: Detector, digits) -> dict[str, Detector]:
    split = digits.one_class(normal=[1], seed=0)
    other = Detector(hidden=(16,), epochs=1, latent_dim=4).fit(split.train.images, conformal="split")
    return {"small": small, "ones": other}


@pytest.fixture(scope="module")
def client(detectors) -> Iterator[TestClient]:
    app = application(Served(detectors), hosts=[*LOOPBACK, "testserver"], limits=LIMITS)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "png")
    return stream.getvalue()


def octets(client: TestClient, content: bytes, **query: object) -> httpx.Response:
    return client.post(
        "/score", content=content, params=query, headers={"content-type": "application/octet-stream"}
    )


def refused(answer: httpx.Response, status: int) -> str:
    """The one line of an answer that refuses."""
    assert answer.status_code == status, answer.text
    (line,) = answer.json().values()
    assert list(answer.json()) == ["error"]
    assert "\n" not in line
    assert "Traceback" not in line
    return str(line)


def test_an_array_is_judged_as_the_command_line_does(client, small, images, tmp_path):
    small.save("runs/small")
    # Digits as they are; and black, white, inverted, on a grey ground, half of it ink, noise, faint ink among them.
    odd = images[:12].copy()
    odd[0], odd[1], odd[2], odd[3], odd[4, 14:] = 0, 255, 255 - odd[2], odd[3] // 2 + 99, 200
    odd[5] = np.random.default_rng(0).integers(0, 256, (28, 28))
    odd[6], odd[6, 9:20, 13] = 0, 12
    for array, settings in (
        (images[:40], {}),
        (odd, {}),
        (odd, {"polarity": "dark"}),
        (odd, {"preprocess": "none"}),
    ):
        np.save("digits.npy", array)
        options = [word for key, value in settings.items() for word in (f"--{key}", value)]
        done = run("score", "digits.npy", "--run", "small", "--format", "json", "--quiet", *options)
        document = json.loads(done.stdout)
        answer = octets(client, npy(array), **settings).json()
        for row in document["rows"]:
            row["path"] = row["path"].replace("digits.npy", "upload")
            # The command line names the option that would help.
            row["error"] = row["error"] and row["error"].replace("digits.npy", "upload").replace("--", "")
        assert answer == document


def test_files_lists_and_octets_give_the_same(client, small, images):
    scores = small.score(images[:3]).tolist()
    forms = [("files", (f"{i}.png", png(image))) for i, image in enumerate(images[:3])]
    files = client.post("/score", files=forms).json()
    lists = client.post("/score", json={"images": images[:3].tolist()}).json()
    assert [row["score"] for row in files["rows"]] == scores
    assert [row["score"] for row in lists["rows"]] == scores
    assert [row["path"] for row in files["rows"]] == ["0.png", "1.png", "2.png"]
    one = client.post("/score", content=png(images[0]), headers={"content-type": "image/png"}).json()
    assert one["rows"][0]["score"] == scores[0]
    alone = client.post("/score", json={"images": images[0].tolist()}).json()
    assert alone["rows"][0]["score"] == scores[0]


def test_run_score_alpha_and_calibration_are_asked_for(client, detectors, images):
    answer = octets(client, npy(images[:5]), run="ones", score="mse", alpha=0.2).json()
    assert (answer["run"], answer["score"], answer["alpha"]) == ("ones", "mse", 0.2)
    assert [row["score"] for row in answer["rows"]] == detectors["ones"].score(images[:5], "mse").tolist()
    assert "run 'nope'" in refused(octets(client, npy(images[:1]), run="nope"), 404)
    assert "'nope'" in refused(octets(client, npy(images[:1]), score="nope"), 422)
    assert "calibration 'nope'" in refused(octets(client, npy(images[:1]), calibration="nope"), 422)
    assert "alpha: " in refused(octets(client, npy(images[:1]), alpha=7), 422)
    assert "'nope'" in refused(octets(client, npy(images[:1]), polarity="nope"), 422)


def test_a_calibration_of_ones_own_may_be_the_default(small, digits, images):
    zeros = digits.whole.images[digits.whole.labels == 0]
    small.save("run")
    own = Detector.load("run")
    own.calibrate(zeros[:50] // 2, name="mine")
    app = application(Served({"run": own}, calibration="mine"), hosts=["testserver"])
    with TestClient(app) as client:
        answer = octets(client, npy(images[:9])).json()
        assert client.get("/runs").json()[0]["calibrations"] == ["mine"]
    assert answer["calibration"] == "mine"
    assert [row["p_value"] for row in answer["rows"]] == own.p_values(images[:9], calibration="mine").tolist()


def test_a_run_of_folds_is_served_as_any_other(digits, images):
    zeros = digits.train.images[digits.train.labels == 0]
    few = Detector(**SMALL, seed=3).fit(zeros[:32])
    few.calibrate(zeros[40:90], name="mine")
    with TestClient(application(Served({"few": few}), hosts=["testserver"])) as client:
        answer = octets(client, npy(images[:9])).json()
        assert [row["score"] for row in answer["rows"]] == few.score(images[:9]).tolist()
        assert [row["p_value"] for row in answer["rows"]] == few.p_values(images[:9]).tolist()
        asked = {"content": npy(images[0]), "headers": {"content-type": "application/octet-stream"}}
        looked = client.post("/look", **asked).json()
        own = client.post("/look", **asked, params={"calibration": "mine"}).json()
    assert (looked["folds"], looked["n_calibration"], looked["calibration"]) == (5, 32, list(range(1, 33)))
    # Set against images that nothing was trained on.
    assert (own["folds"], own["n_calibration"]) == (0, 50)


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 422, "the body is empty"),
        (b"not an image", 422, "upload: not an image"),
        (npy(np.zeros((61, 28, 28), np.uint8)), 413, "61 images or more, at most 60"),
        (npy(np.zeros((101, 100), np.uint8)), 413, "100 x 101 pixels, at most 10,000"),
        (png(np.zeros((200, 100), np.uint8)), 413, "100 x 200 pixels"),
        (npy(np.zeros((2, 28, 28), np.uint8))[:-5], 422, "upload"),
        (b"\x93NUMPY\x01\x00v\x00{", 422, "upload: broken .npy header: "),
        (
            npy(np.zeros((3, 28, 28), np.uint8)).replace(b"(3,", b"(-3,"),
            422,
            "a negative length in shape (-3, 28, 28)",
        ),
        (b"PK\x03\x04....", 422, ".npz archives are not taken"),
        (b"\x1f\x8b....", 422, "gzipped files are not taken"),
        (b"0" * 400_000, 413, "more than 0.3 MB"),
    ],
)
def test_bad_files_are_refused_in_a_line(client, content, status, words):
    assert words in refused(octets(client, content), status)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "an object was expected"),
        ("[]", "an object was expected"),
        ("{}", "an object was expected"),
        ("3", "an object was expected"),
        ('{"images": []}', "there are none"),
        ('{"images": [[[]]]}', "images"),
        ('{"images": [[[1, 2], [3]]]}', "lists of numbers"),
        ('{"images": "no"}', "an object was expected"),
        ('{"images": null}', "an object was expected"),
        ('{"images": [1, 2]}', "lists of numbers"),
        ('{"images": [[[[1]]]]}', "lists of numbers"),
        ('{"images": [[[1], "]"]]}', "lists of numbers"),
        ('{"images":\x0b[[[1]]]}', "an object was expected"),
        ('{"images": [[[true]]]}', "N lists of H lists of W numbers"),
        ('{"images": [[[1]], [1]]}', "lists of numbers"),
        ('{"images": [[[1]], [[1, 2]]]}', "all of one size"),
        ('{"images": [[[1]]], "alpha": 0.01}', "nothing but"),
        ('{"images": [[[1]]]} {}', "lists of numbers"),
        ('{"images": [[[1]]]} 3', "nothing but"),
        ('{"images": [[[1],]]}', "lists of numbers"),
        ('{"images": [[[1]]', "lists of numbers"),
        ('{"images": [[[1', "lists of numbers"),
        ('{"images": [[[' + "1" * 9000 + "]]]}", "lists of numbers"),
        ('{"images": [[[256]]]}', "from 0 to 255"),
        ('{"images": [[[NaN]]]}', "from 0 to 255"),
        ('{"images": [[["a"]]]}', "lists of numbers"),
        ('{"images": [[[null]]]}', "N lists"),
        ('{"images": [[[1e999]]]}', "from 0 to 255"),
        ("[" * 100_000, "an object was expected"),
        ('{"images": ' + "[" * 100_000, "lists of numbers"),
        ('{"images": ' + "[" * 80 + "]" * 80 + "}", "images"),
    ],
)
def test_bad_lists_are_refused_in_a_line(client, body, words):
    answer = client.post("/score", content=body, headers={"content-type": "application/json"})
    assert words in refused(answer, 422)


def test_requests_that_are_none_are_refused_in_a_line(client, images):
    assert "content type 'missing'" in refused(client.post("/score"), 415)
    assert "'text/plain'" in refused(
        client.post("/score", content="a", headers={"content-type": "text/plain"}), 415
    )
    none = b"--a--\r\n"
    assert "files: there are none" in refused(
        client.post("/score", content=none, headers={"content-type": "multipart/form-data; boundary=a"}), 422
    )
    assert "file: parts named files were expected" in refused(
        client.post("/score", files=[("file", ("a.png", png(images[0])))]), 422
    )
    broken = client.post("/score", content=b"--", headers={"content-type": "multipart/form-data; boundary=a"})
    assert broken.status_code in (400, 422)
    refused(broken, broken.status_code)
    no_boundary = client.post("/score", content=b"--", headers={"content-type": "multipart/form-data"})
    refused(no_boundary, 400)
    refused(client.get("/nope"), 404)
    refused(client.get("/score"), 405)
    field = client.post("/score", data={"alpha": "0.01"}, files=[("files", ("a.png", png(images[0])))])
    assert "alpha: parts named files were expected" in refused(field, 422)
    many = [("files", (f"{i}", b"")) for i in range(61)]
    refused(client.post("/score", files=many), 400)


def test_a_form_that_is_cut_short_is_refused_wherever_it_is_cut(client, images):
    head = b'--a\r\nContent-Disposition: form-data; name="files"; filename="%d.png"\r\n\r\n'
    whole = b"".join(head % i + png(images[i]) + b"\r\n" for i in range(2)) + b"--a--\r\n"

    def sent(body: bytes) -> httpx.Response:
        return client.post(
            "/score", content=body, headers={"content-type": "multipart/form-data; boundary=a"}
        )

    assert sent(whole).json()["n"] == 2
    assert sent(whole + b"an epilogue" * 500).json()["n"] == 2
    text = b'--a\r\nContent-Disposition: form-data; name="files"\r\n\r\nno file\r\n'
    assert "files: a part has no name of a file" in refused(sent(text + whole), 422)
    held = (head % 0) + b"--a--" + whole
    refused(sent(held[:-10]), 400)
    for length in (*range(10, len(whole) - 4, 40), *range(len(whole) - 14, len(whole) - 2)):
        answer = sent(whole[:length])
        assert answer.status_code in (400, 422)
        refused(answer, answer.status_code)


def test_what_can_be_read_is_judged_beside_what_cannot(client, images):
    files = [("files", ("good.png", png(images[0]))), ("files", ("bad\n.png", b"bad"))]
    answer = client.post("/score", files=files)
    assert answer.status_code == 200
    assert (answer.json()["n"], answer.json()["n_failed"]) == (2, 1)
    good, bad = answer.json()["rows"]
    assert good["error"] is None
    assert bad["score"] is None
    assert "not an image" in bad["error"]


def test_a_body_in_pieces_is_bounded_though_it_names_no_length(client):
    pieces = (b"0" * 50_000 for _ in range(20))
    answer = client.post("/score", content=pieces, headers={"content-type": "application/octet-stream"})
    assert "more than 0.3 MB" in refused(answer, 413)


def test_pages_of_others_and_other_names_are_refused(client, images):
    assert "host 'evil.example'" in refused(client.get("/health", headers={"host": "evil.example"}), 403)
    assert "origin" in refused(client.get("/health", headers={"origin": "http://evil.example"}), 403)
    assert "origin" in refused(client.get("/health", headers={"origin": "null"}), 403)
    for host in ("localhost:8000", "127.0.0.1", "[::1]:80"):
        assert client.get("/health", headers={"host": host, "origin": f"http://{host}"}).status_code == 200


def test_it_says_what_it_is(client, small):
    assert client.get("/health").json()["runs"] == ["small", "ones"]
    first = client.get("/runs").json()[0]
    assert (first["run"], first["score"], first["n_calibration"]) == ("small", "bent", small.n_calibration)
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/score", "/look", "/decode", "/health", "/runs", "/metrics"}
    assert set(described["paths"]["/score"]["post"]["requestBody"]["content"]) == {
        "multipart/form-data", "application/json", "application/octet-stream", "image/*",
    }  # fmt: skip


def test_a_page_says_what_can_be_asked_and_loads_nothing_from_elsewhere(client):
    page = client.get("/docs", headers={"host": "localhost:8000"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    described = client.get("/openapi.json").json()["paths"]
    for path, methods in described.items():
        for method, operation in methods.items():
            assert f"<code>{method.upper()} {path}</code> {operation['summary']}</h2>" in page.text
            assert f" http://localhost:8000{path}" in page.text
            for parameter in operation.get("parameters", []):
                assert f"<td><code>{parameter['name']}</code></td>" in page.text
    parts = re.findall(r"(?:src|href)=\"([^\"#]+)", page.text)
    # Without an icon a browser would ask for one.
    assert sorted(parts) == ["/", "data:,", "openapi.json", "page.css", "reference.css"]
    for part in set(parts) - {"data:,"}:
        answer = client.get(f"/{part.lstrip('/')}")
        assert answer.status_code == 200
        assert "@import" not in answer.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "&lt;b&gt;" in client.get("/docs", headers={"host": "localhost:<b>"}).text


def test_what_is_asked_for_with_nothing_is_the_default(client, images):
    plain = octets(client, npy(images[:3])).json()
    nothing = dict.fromkeys(("run", "score", "alpha", "calibration", "preprocess", "polarity"), "")
    assert octets(client, npy(images[:3]), **nothing).json() == plain


@contextlib.contextmanager
def listening(detectors: dict[str, Detector], limits: Limits) -> Iterator[int]:
    """A server in this process, and its port."""
    with running(application(Served(detectors), hosts=LOOPBACK, limits=limits), limits) as port:
        yield port


@contextlib.contextmanager
def running(app: Guard, limits: Limits) -> Iterator[int]:
    """A server of an application, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as there:
        server = make_server(app, limits, log_level="error")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [there]})
        thread.start()
        try:
            yield there.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def heads(answer: bytes) -> tuple[bytes, dict[str, str]]:
    """The first line of an answer, and the object that it holds."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.partition(b"\r\n")[0], json.loads(body)


def test_who_asks_for_nothing_makes_room_for_who_does(detectors, images):
    body = npy(images[:3])
    with listening(detectors, Limits(connections=4)) as port, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 60)) for _ in range(30)]
        assert [rest(one) for one in idle[:20]] == [b""] * 20, "the first ones are closed"
        for _ in range(3):
            with begun(port, body, len(body)) as good:
                assert rest(good).startswith(b"HTTP/1.1 200")


def test_where_all_are_being_answered_one_more_is_refused(detectors, images):
    body = npy(images[:3])
    with listening(detectors, Limits(connections=3)) as port, contextlib.ExitStack() as stack:
        others = [
            stack.enter_context(begun(port, b"", len(body), "Expect: 100-continue\r\n")) for _ in range(3)
        ]
        for other in others:
            assert other.recv(65536).startswith(b"HTTP/1.1 100")
        # Several that come at once are all told.
        more = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 60)) for _ in range(12)]
        answers = [rest(one) for one in more]
        assert set(answers) == {answers[0]}
        line, said = heads(answers[0])
        assert line == b"HTTP/1.1 503 Service Unavailable"
        assert said == {"error": "3 connections are open; try again later"}
        for other in others:
            other.sendall(body)
            assert rest(other).startswith(b"HTTP/1.1 200")


def test_a_head_has_its_time_and_a_connection_that_says_nothing_too(detectors, images):
    get = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with listening(detectors, Limits(seconds=2.5)) as port:
        ends = []
        for first in (b"", b"GET /health HT", get + b"GET /he"):
            there = socket.create_connection(("127.0.0.1", port), 60)
            there.sendall(first)
            ends.append(there)
        # A byte now and then does not help.
        ends[1].settimeout(0.4)
        answer = b""
        while not answer:
            ends[1].sendall(b"T")
            with contextlib.suppress(TimeoutError):
                answer = ends[1].recv(65536)
        line, said = heads(answer)
        assert line == b"HTTP/1.1 408 Request Timeout"
        assert said == {"error": "no whole head of a request came in 2.5 seconds"}
        assert rest(ends[0]) == b""
        assert rest(ends[2]).count(b"HTTP/1.1 ") == 2
        for there in ends:
            there.close()


NO_HTTP = (
    b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"x" * 70_000,
    b"POST /score HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
)


@pytest.mark.parametrize("sent", NO_HTTP, ids=range(len(NO_HTTP)))
def test_what_is_no_http_is_refused_as_all_else(detectors, capfd, sent):
    with listening(detectors, LIMITS) as port, socket.create_connection(("127.0.0.1", port), 60) as there:
        there.sendall(sent)
        line, said = heads(there.recv(65536))
        assert line == b"HTTP/1.1 400 Bad Request"
        assert said == {"error": "this is no request of HTTP/1.1"}
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("host", "pause"), [("localhost", 0.0), ("localhost", 0.3), ("evil.example", 0.3)])
def test_a_body_that_breaks_beside_its_answer_ends_the_connection(detectors, capfd, method, host, pause):
    head = f"{method} /health HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with listening(detectors, LIMITS) as port, socket.create_connection(("127.0.0.1", port), 60) as there:
        if pause:
            there.sendall(head)
            time.sleep(pause)
            there.sendall(b"zz\r\n")
        else:
            there.sendall(head + b"zz\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert rest(there).count(b"HTTP/1.1 ") <= 1
    assert "Traceback" not in capfd.readouterr().err


def test_a_byte_after_the_answer_keeps_no_connection_and_a_stop_ends_what_is_under_way(
    detectors, images, capfd
):
    get = b"GET /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = npy(images[:3])
    with listening(detectors, Limits(seconds=4)) as port, contextlib.ExitStack() as stack:
        bad = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 60)) for _ in range(3)]
        for one in bad:
            one.sendall(get)
            taken = b""
            while not taken.endswith(b"}"):
                taken += one.recv(65536)
            one.sendall(b"5")
        for one in bad:
            with contextlib.suppress(ConnectionResetError):
                assert rest(one) == b""
        good = stack.enter_context(begun(port, b"", len(body), "Expect: 100-continue\r\n"))
        assert good.recv(65536).startswith(b"HTTP/1.1 100")
        good.sendall(body)
        assert rest(good).startswith(b"HTTP/1.1 200")
    assert "Traceback" not in capfd.readouterr().err


def test_who_does_not_take_answers_is_left(detectors, capfd):
    with listening(detectors, Limits(seconds=1)) as port:
        with socket.socket() as there:
            there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            there.connect(("127.0.0.1", port))
            there.settimeout(60)
            there.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500)
            time.sleep(2)
            taken = b""
            with contextlib.suppress(ConnectionResetError):
                while more := there.recv(65536):
                    taken += more
        assert 0 < taken.count(b"HTTP/1.1 200") < 500
        assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    assert capfd.readouterr().err == ""


def answering(limits: Limits, size: int, seconds: float = 0) -> Guard:
    """An application that answers with so many bytes, so long after it began to."""

    async def answers(scope, receive, send):
        if scope["type"] == "http":
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await asyncio.sleep(seconds)
            await send({"type": "http.response.body", "body": bytes(size)})

    return Guard(answers, hosts=LOOPBACK, limits=limits, on_answer=lambda path, status: None)


def test_who_takes_an_answer_slowly_gets_all_of_it():
    limits = Limits(seconds=2)
    with running(answering(limits, 6_000_000), limits) as port, socket.socket() as there:
        there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        there.connect(("127.0.0.1", port))
        there.settimeout(60)
        there.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        n = 0
        while taken := len(there.recv(2**15)):
            n += taken
            time.sleep(0.03)
    assert n > 6_000_000


def test_an_answer_that_was_begun_is_not_cut_by_the_time_of_its_request():
    limits = Limits(seconds=1)
    with running(answering(limits, 1000, seconds=1.5), limits) as port:
        assert len(httpx.get(f"http://127.0.0.1:{port}/").content) == 1000


def test_head_is_get_without_a_body(detectors):
    with listening(detectors, LIMITS) as port:
        for path in ("/health", "/", "/metrics", "/openapi.json"):
            answer = httpx.head(f"http://127.0.0.1:{port}{path}")
            assert (answer.status_code, answer.content) == (200, b"")
            assert int(answer.headers["content-length"]) > 0
        assert httpx.head(f"http://127.0.0.1:{port}/score").status_code == 405


def test_pages_end_when_their_time_is_up(images):
    pages = [Image.fromarray(image) for image in images[:5]]
    stream = io.BytesIO()
    pages[0].save(stream, "tiff", save_all=True, append_images=pages[1:])
    assert len(read_upload("a.tif", stream.getvalue(), Reading(), Limits()).names) == 5
    with pytest.raises(RefusedError, match=r"^a\.tif: 1 page took 1e-09 seconds$") as refusal:
        read_upload("a.tif", stream.getvalue(), Reading(), Limits(seconds=1e-9))
    assert refusal.value.status == 408


def test_a_fault_of_the_server_is_a_line_too(detectors, monkeypatch):
    app = application(Served(detectors), hosts=["testserver"])
    monkeypatch.setattr(Served, "told", lambda self: 1 / 0)
    with TestClient(app, raise_server_exceptions=False) as client:
        assert "a fault of the server" in refused(client.get("/runs"), 500)


def begun(port: int, body: bytes, length: int, more: str = "") -> socket.socket:
    """A connection on which some of an upload was sent."""
    there = socket.create_connection(("127.0.0.1", port), 60)
    head = (
        f"POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Length: {length}\r\nConnection: close\r\n{more}\r\n"
    )
    there.sendall(head.encode() + body)
    return there


def rest(there: socket.socket) -> bytes:
    """All that is answered on a connection."""
    return b"".join(iter(lambda: there.recv(65536), b""))


def test_who_sends_too_much_gets_the_answer_though_all_of_it_is_sent(detectors):
    with listening(detectors, LIMITS) as port, begun(port, bytes(30_000_000), 30_000_000) as there:
        answer = rest(there)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"more than 0.3 MB" in answer


def test_all_bodies_under_way_are_bounded_together(detectors, images):
    limits = Limits(megabytes=0.1)
    with listening(detectors, limits) as port, contextlib.ExitStack() as stack:
        others = [stack.enter_context(begun(port, bytes(90_000), 99_000)) for _ in range(4)]
        with begun(port, bytes(90_000), 99_000) as one_more:
            answer = rest(one_more)
        assert answer.startswith(b"HTTP/1.1 429")
        assert b"0.4 MB of uploads are under way; try again later" in answer
        for other in others:
            other.sendall(bytes(9_000))
            assert rest(other).startswith(b"HTTP/1.1 422")
        body = npy(images[:100])
        with begun(port, body, len(body)) as good:
            assert rest(good).startswith(b"HTTP/1.1 200")


def test_it_counts(client, images):
    def counted(name: str) -> float:
        return value(client.get("/metrics").text, name)

    names = [
        'anomalae_requests_total{path="/score",status="200"}',
        'anomalae_requests_total{path="other",status="404"}',
    ]
    before = [counted(name) for name in names]
    octets(client, npy(images[:7]))
    client.get("/wp-login.php")
    assert [counted(name) for name in names] == [count + 1 for count in before]
    assert counted("anomalae_score_seconds_count") > 0
    assert counted('anomalae_images_total{run="small",verdict="failed"}') >= 0


def test_requests_at_once_get_what_they_would_alone(client, small, images):
    scores = small.score(images)

    def ask(index: int) -> bool:
        some = images[index : index + 1 + index % 5]
        rows = octets(client, npy(some)).json()["rows"]
        return [row["score"] for row in rows] == scores[index : index + len(some)].tolist()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(50)))


def test_what_waits_is_scored_together(small, images):
    sizes: list[int] = []
    started, go = threading.Event(), threading.Event()

    def on_batch(n: int) -> None:
        sizes.append(n)
        started.set()
        go.wait(30)

    batcher = Batcher(on_batch)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        first = pool.submit(batcher.score, small, "bent", images[:1])
        started.wait(30)
        rest = [pool.submit(batcher.score, small, "bent", images[i : i + 1]) for i in range(1, 6)]
        other = pool.submit(batcher.score, small, "mse", images[:2])
        while batcher.n_waiting < 6:
            pass
        go.set()
        got = [future.result(30) for future in (first, *rest)]
        np.testing.assert_array_equal(np.concatenate(got), small.score(images[:6]))
        np.testing.assert_array_equal(other.result(30), small.score(images[:2], "mse"))
    batcher.close()
    assert sizes[0] == 1
    assert sorted(sizes[1:]) == [2, 5]
    with pytest.raises(ClosedError):
        batcher.score(small, "bent", images[:1])


def test_a_fault_of_one_batch_is_its_own(small, images):
    batcher = Batcher()
    with pytest.raises(Exception, match=r".+"):
        batcher.score(small, "bent", np.zeros((1, 3, 3), np.uint8))
    np.testing.assert_array_equal(batcher.score(small, "bent", images[:2]), small.score(images[:2]))
    batcher.close()


def test_too_many_at_once_are_told_to_come_later(detectors, images):
    app = application(Served(detectors), hosts=["testserver"], limits=Limits(waiting=0))
    with TestClient(app) as client:
        assert "0 requests are under way" in refused(octets(client, npy(images[:1])), 429)


def test_a_request_has_its_time(detectors, images):
    app = application(Served(detectors), hosts=["testserver"], limits=Limits(seconds=1e-9))
    with TestClient(app) as client:
        assert "took longer than 1e-09 seconds" in refused(octets(client, npy(images[:1])), 408)


# --- the command, in a process of its own ---


def test_the_most_pixels_that_can_be_asked_for_are_those_that_are_read():
    assert serve.MOST_PIXELS == pictures.MAX_PIXELS


def test_idle_connections_do_not_use_up_the_descriptors(small: Detector):
    small.save("runs/small")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(128, most[1]), most[1]))
    try:
        process = started("small")
        _, place = process.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    with contextlib.ExitStack() as stack:
        stack.push(process)
        host, port = place.removeprefix("http://").split(":")
        for _ in range(200):
            stack.enter_context(socket.create_connection((host, int(port)), 60))
        for _ in range(20):
            assert httpx.get(f"{place}/health", timeout=60).status_code == 200


@contextlib.contextmanager
def started(*words: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """A server of a run, and where it is; it is killed at the end if it is still there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "anomalae", "serve", "--port", "0", *words],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"at (http://\S+); Ctrl-C stops", line)
            assert found, line
            yield process, found[1]
        finally:
            process.kill()


def value(metrics: str, name: str) -> float:
    """What Prometheus would read under this name; 0 where it is not there yet."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_finishes_what_is_under_way(small: Detector, images, by):
    small.save("runs/small")
    with started("small") as (process, place):
        host, port = place.removeprefix("http://").split(":")
        body = npy(images)
        head = (
            f"POST /score HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/octet-stream\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        with socket.create_connection((host, int(port)), 60) as there:
            there.sendall(head.encode() + body[:-1])
            while value(httpx.get(f"{place}/metrics").text, "anomalae_requests_under_way") < 2:
                pass
            process.send_signal(by)
            there.sendall(body[-1:])
            answer = b"".join(iter(lambda: there.recv(65536), b""))
        assert process.stdout is not None
        rest = process.stdout.read()
        process.wait(60)
    assert answer.startswith(b"HTTP/1.1 200")
    rows = json.loads(answer.split(b"\r\n\r\n", 1)[1])["rows"]
    assert [row["score"] for row in rows] == small.score(images).tolist()
    assert rest == "stopped\n"
    assert process.returncode == 0


def test_nothing_that_was_sent_is_kept(small: Detector, images, tmp_path, monkeypatch):
    small.save("runs/small")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    with started("small") as (_, place):
        big = np.zeros((2000, 28, 28), np.uint8)
        big[:, 5:20, 10:14] = 255
        forms = [("files", ("a.npy", npy(big))), ("files", ("b.png", png(images[0])))]
        assert httpx.post(f"{place}/score", files=forms, timeout=60).json()["n"] == 2001
        assert "a.png" in httpx.post(f"{place}/score", files=[("files", ("a.png", b"bad"))]).json()["error"]
        left = [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()]
    assert left == []


def test_a_name_that_is_allowed_is_answered_beside_those_of_the_loopback(small: Detector):
    small.save("runs/small")
    with started("small", "--allow-host", "digits.example.org") as (_, place):
        for host, status in (("digits.example.org", 200), ("localhost", 200), ("evil.example", 403)):
            assert httpx.get(f"{place}/health", headers={"host": host}).status_code == status


def test_wrong_words_are_one_line(small: Detector):
    small.save("runs/small")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}: cannot be listened at" in fails(1, "serve", "small", "--port", str(port))
    assert "no.such.host" in fails(1, "serve", "small", "--host", "no.such.host.invalid")
    assert "calibration 'mine'" in fails(2, "serve", "small", "--calibration", "mine")
    assert "nope" in fails(2, "serve", "nope")


def test_without_the_extra_the_line_says_what_to_install(small: Detector, tmp_path):
    small.save("runs/small")
    (tmp_path / "no").mkdir()
    (tmp_path / "no" / "fastapi.py").write_text("raise ModuleNotFoundError('no', name='fastapi')")
    path = os.pathsep.join([str(tmp_path / "no"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "anomalae", "serve", "small"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "Error: serve needs fastapi: pip install 'anomalae[serve]'\n"


def test_what_would_take_long_to_parse_is_refused_before():
    for body, status in (
        (b'{"images":[' + b"[]," * 1_000_001 + b"[]]}", 413),
        (b'{"images":[[[' + b"0," * 8_000_000 + b"0]]]}", 413),
        (b'{"images":[{},{}]}', 422),
    ):
        with pytest.raises(RefusedError) as refusal:
            read_lists(body, Reading(), Limits())
        assert refusal.value.status == status


def test_lists_are_parsed_as_json_is():
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 1), (3, 28, 28), (2, 5, 9)):
        array = rng.integers(0, 256, shape)
        for indent in (None, 2, "\t"):
            text = json.dumps({"images": array.tolist()}, indent=indent).encode()
            np.testing.assert_array_equal(np.stack(list(parse_images(text.decode()))), array)
    (alone,) = parse_images(' {"images"\n:[[0.5, 2e1] , [3,4]]}\r\n')
    np.testing.assert_array_equal(alone, [[0.5, 20], [3, 4]])


def test_a_row_of_json_is_short_and_others_are_answered_between_rows():
    long = "0," * 600_000
    for text in (
        f"[[[{long}0]]]",
        f"[[[[],{long}0]]]",
        f"[{long}0]",
        f"[[[0], {long}0]]",
        "[" + '"a",' * 300_000,
    ):
        with pytest.raises(ValueError, match="no row, or one that is too long"):
            list(parse_images(f'{{"images": {text}}}'))
    many = b'{"images":[' + b"[]," * 900_000 + b"[]]}"
    with pytest.raises(RefusedError, match="at most 10,000 are taken"):
        read_lists(many, Reading(), Limits())
    body = json.dumps({"images": np.zeros((3000, 28, 28), int).tolist()}).encode()
    turns: list[float] = []
    reader = threading.Thread(target=read_lists, args=(body, Reading(), Limits()))
    reader.start()
    while reader.is_alive():
        turns.append(time.monotonic())
        time.sleep(0.001)
    reader.join()
    assert len(turns) > 10, "nobody else has a turn"


def test_levels_of_json_that_are_parts_of_one_are_told(client, images):
    answer = client.post("/score", json={"images": (images[:1] / 255).tolist()})
    assert "these are at most 1" in refused(answer, 422)


def test_the_page_on_what_can_be_asked_needs_no_host(detectors):
    with TestClient(application(Served(detectors), hosts=["*"]), raise_server_exceptions=False) as anybody:
        assert anybody.get("/docs", headers={"host": ""}).status_code == 200


def test_who_leaves_while_sending_is_no_fault_of_the_server(detectors):
    app = application(Served(detectors), hosts=LOOPBACK)
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/score",
        "raw_path": b"/score",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    scope["headers"][1] = (b"content-type", b"multipart/form-data; boundary=a")
    asyncio.run(app(scope, receive, send))
    assert [message["status"] for message in sent if "status" in message] == [499, 499]
