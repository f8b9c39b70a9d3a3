"""What `anomalae serve` answers under load: whether it is right, how soon, and in how much memory. Linux only.

    python benchmarks/serve.py runs/mnist-3-ae        # --clients 64 --seconds 60 --bad 0.1 --rounds 9

A server of the run in a process of its own, its limits as they are by default. Clients send one digit or a few as
`.npy` arrays, PNG files or JSON, each as soon as the last is answered, and a share of bad uploads: broken PNG, too many
images, a wrong shape, no JSON, nothing, too large. A good answer must be what `Detector.score` and `Detector.p_values`
give, to the bit; a bad upload must get 4xx and one line. Then the server is killed while they ask, started again, and
asked. Last, 1,000 images in one upload beside `Detector.score` of the same, in turn, by CPU seconds there and here.

Prints JSON, and ends with 1 where an answer was wrong or lost. Times are of a machine with all of this on it. Without a
run a small one is trained on the bundled digits.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anomalae import Detector, load_dataset
from anomalae.server.limits import Limits

MANY, UPLOADS, TOLD = 1000, 20, 10
# Of the digits that are sent: each is scored here first.
DIGITS = 200
OCTETS, FORM, JSON = "application/octet-stream", "multipart/form-data; boundary=part", "application/json"


@dataclass(frozen=True)
class Upload:
    """A body, its kind and content type, and the verdicts that are right; None where it must be refused."""

    kind: str
    media: str
    body: bytes
    rows: list[tuple[float, float]] | None = None


@dataclass
class Tally:
    """What came of the uploads of all clients; seconds are of those that had to be judged."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--bad", type=float, default=0.1, help="share of bad uploads")
    parser.add_argument("--rounds", type=int, default=9, help="of 1,000 images; 0 leaves them out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(given.run or small_run(Path(folder, "run")), Path(folder, "temporary"), given)
    print(json.dumps(measured, indent=1))
    if measured["wrong"] or measured["lost"] or measured["left_behind"]:
        sys.exit(1)


def small_run(folder: Path) -> Path:
    """A run that took a second."""
    split = load_dataset("digits").one_class(normal=[8], seed=0)
    detector = Detector(epochs=1, hidden=(16,), latent_dim=4, threads=1)
    detector.fit(split.train.images, split.validation.images, split.calibration.images).save(folder)
    return folder


def measure(run: Path, temporary: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Measure a server of a run, whose temporary files would lie in a folder of its own."""
    temporary.mkdir()
    detector = Detector.load(run)
    images = load_dataset("digits").train.images
    good, bad = good_uploads(detector, images[:DIGITS]), bad_uploads(images)
    made: dict[str, Any] = {"run": str(run), "clients": given.clients, "seconds": given.seconds}
    with serving(run, 0, temporary) as (server, port):
        for upload in (*good, *bad):
            tell(Tally(), upload, *answer(HTTPConnection("127.0.0.1", port, timeout=60), upload))
        before, cpu = memory(server.pid), cpu_seconds(server.pid)
        tally, wall = load(port, good, bad, given)
        made |= {
            "answers": dict(sorted(tally.statuses.items())),
            "per_second": round(sum(tally.statuses.values()) / wall, 1),
            "server_ms": round(1000 * (cpu_seconds(server.pid) - cpu) / sum(tally.statuses.values()), 2),
            "p50_ms": round(1000 * float(np.quantile(tally.seconds, 0.5)), 1),
            "p99_ms": round(1000 * float(np.quantile(tally.seconds, 0.99)), 1),
            "peak_mb_before": before,
            "peak_mb_after": memory(server.pid),
        }
        killing = threading.Timer(1, server.kill)
        killing.start()
        # Their answers are lost with the server, and none of those before may be wrong.
        cut_off, _ = load(port, good, bad, given, until_lost=True)
        killing.join()
        server.wait()
    left = [path.name for path in temporary.rglob("*")]
    with serving(run, port, temporary) as (server, port):
        one = Tally()
        tell(one, good[0], *answer(HTTPConnection("127.0.0.1", port, timeout=60), good[0]))
        made |= {
            "wrong": (tally.wrong + cut_off.wrong + one.wrong)[:TOLD],
            "lost": tally.lost[:TOLD],
            "left_behind": left,
            "after_kill": dict(one.statuses),
        }
        if given.rounds:
            made["rate"] = rate(server.pid, port, detector, images, given.rounds)
    return made


@contextlib.contextmanager
def serving(run: Path, port: int, temporary: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server of a run, and its port; it is killed at the end."""
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "anomalae", "serve", str(run), "--port", str(port)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    with server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            found = re.search(r"at http://127.0.0.1:(\d+); Ctrl-C stops", line)
            if not found:
                sys.exit(f"the server did not start: {line}")
            yield server, int(found[1])
        finally:
            server.kill()


def good_uploads(detector: Detector, images: np.ndarray) -> list[Upload]:
    """Uploads of one image or a few, uint8 (N, 28, 28), in each form that is taken."""
    scores, p_values = detector.score(images).tolist(), detector.p_values(images).tolist()
    rows = list(zip(scores, p_values, strict=True))
    made = []
    for place in range(0, len(images) - 8, 4):
        few = slice(place, place + 2 + place % 7)
        made += [
            Upload("one .npy", OCTETS, npy(images[place]), rows[place : place + 1]),
            Upload("some .npy", OCTETS, npy(images[few]), rows[few]),
            Upload("one PNG", "image/png", png(images[place]), rows[place : place + 1]),
            Upload("some PNG", FORM, form([png(image) for image in images[few]]), rows[few]),
            Upload("JSON", JSON, json.dumps({"images": images[few].tolist()}).encode(), rows[few]),
        ]
    return made


def bad_uploads(images: np.ndarray) -> list[Upload]:
    """Uploads that must be refused."""
    limits = Limits()
    return [
        Upload("broken PNG", OCTETS, png(images[0])[:-40]),
        Upload("broken PNG", FORM, form([png(images[0])[:-40]])),
        Upload("too many images", OCTETS, npy(np.zeros((limits.images + 1, 1, 1), np.uint8))),
        Upload("wrong shape", OCTETS, npy(images[0, 0])),
        Upload("wrong shape", JSON, b'{"images": [[[0, 1], [2]]]}'),
        Upload("no JSON", JSON, b'{"images": [[[0, 1'),
        Upload("empty", OCTETS, b""),
        Upload("empty", FORM, form([])),
        Upload("too large", OCTETS, bytes(limits.body + 1)),
    ]


def npy(array: np.ndarray) -> bytes:
    """An array as a file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def png(image: np.ndarray) -> bytes:
    """An image as a file."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "png")
    return stream.getvalue()


def form(files: list[bytes]) -> bytes:
    """Files as a form of HTML sends them."""
    head = b'--part\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    return b"".join(head + file + b"\r\n" for file in files) + b"--part--\r\n"


def answer(connection: HTTPConnection, upload: Upload) -> tuple[int, bytes]:
    """Send an upload, and return the status and the body of what is answered."""
    # A server that refuses a body need not read it: what it has said by then counts.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.request("POST", "/score", upload.body, {"Content-Type": upload.media})
    got = connection.getresponse()
    return got.status, got.read()


def tell(tally: Tally, upload: Upload, status: int, body: bytes) -> None:
    """Count an answer, and keep what is wrong with it."""
    right = "refused" if upload.rows is None else "judged"
    tally.statuses[f"{right} as it must be: {status}" if is_right(upload, status, body) else f"{status}"] += 1
    if not is_right(upload, status, body):
        tally.wrong.append(f"{upload.kind}: {status} {body[:200]!r}")


def is_right(upload: Upload, status: int, body: bytes) -> bool:
    """Whether this is the answer to an upload."""
    document = json.loads(body)
    if upload.rows is None:
        line = document.get("error", "")
        return 400 <= status < 500 and list(document) == ["error"] and bool(line) and "\n" not in line
    rows = document.get("rows", [])
    return status == 200 and [(row["score"], row["p_value"]) for row in rows] == upload.rows


def load(
    port: int, good: list[Upload], bad: list[Upload], given: argparse.Namespace, *, until_lost: bool = False
) -> tuple[Tally, float]:
    """Let clients ask at once, for some seconds or until the server is lost; return what came of it, and how long."""
    tally, begun = Tally(), time.perf_counter()

    def client(number: int) -> None:
        rng = np.random.default_rng(number)
        connection = HTTPConnection("127.0.0.1", port, timeout=120)
        while until_lost or time.perf_counter() - begun < given.seconds:
            uploads = bad if rng.random() < given.bad else good
            upload = uploads[rng.integers(len(uploads))]
            asked = time.perf_counter()
            try:
                status, body = answer(connection, upload)
            except (OSError, HTTPException) as error:
                tally.lost.append(f"{upload.kind}: {error!r}")
                if until_lost:
                    return
                connection.close()
                continue
            # How long one takes who sends 64 MB to be refused says nothing of the server.
            if upload.rows is not None:
                tally.seconds.append(time.perf_counter() - asked)
            tell(tally, upload, status, body)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(given.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally, time.perf_counter() - begun


def rate(pid: int, port: int, detector: Detector, images: np.ndarray, rounds: int) -> dict[str, Any]:
    """The rate of uploads of many images, in that of scoring them here, by CPU seconds: each round, and the median."""
    many = np.resize(images, (MANY, 28, 28))
    upload = Upload("1,000", OCTETS, npy(many))
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    expected = detector.score(many).tolist()
    rates, seconds = [], []
    for number in range(rounds + 1):
        before = cpu_seconds(pid)
        for _ in range(UPLOADS):
            status, body = answer(connection, upload)
        theirs = (cpu_seconds(pid) - before) / UPLOADS
        before = time.process_time()
        for _ in range(UPLOADS):
            detector.score(many)
        ours = (time.process_time() - before) / UPLOADS
        if status != 200 or [row["score"] for row in json.loads(body)["rows"]] != expected:
            sys.exit(f"1,000 images: {status} {body[:200]!r}")
        # What is compiled in the first round is not what one waits for later.
        if number:
            rates.append(round(ours / theirs, 3))
            seconds.append((theirs, ours))
    theirs, ours = np.median(seconds, axis=0).tolist()
    return {
        "of_score": round(float(np.median(rates)), 3),
        "rounds": rates,
        "server_ms": round(1000 * theirs, 1),
        "score_ms": round(1000 * ours, 1),
    }


def memory(pid: int) -> float:
    """The largest resident set of a process so far, in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return round(int(found[1]) / 1024, 1) if found else 0.0


def cpu_seconds(pid: int) -> float:
    """CPU seconds that a process has taken, to a hundredth."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
