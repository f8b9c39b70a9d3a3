"""Downloads: only whole files with the right hash ever appear under their names, whatever the server does.

Every server here is on this machine; none of the official addresses is ever used.
"""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import os
import struct
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anomalae.datasets import download as downloads
from anomalae.datasets import official as sources
from anomalae.datasets.download import UnavailableError, download_file
from anomalae.datasets.official import Official, Source, acquire, can_unpack, survey
from anomalae.errors import DataError


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def contents(source: Source, fill: int = 7) -> dict[str, bytes]:
    """Content of the right form for each of a source's files."""
    return {
        name: head + bytes([fill % 10]) * (source.sizes[name] - len(head))
        for name, head in source.headers.items()
    }


SMALL = Source("MNIST/raw", ("train", "t10k"), (12, 5))
FILES = contents(SMALL)
PACKED = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in FILES.items()}
HASHED = Source("MNIST/raw", ("train", "t10k"), (12, 5), {name: md5(data) for name, data in FILES.items()})


@pytest.fixture(autouse=True)
def _nothing_leaves_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    urlopen = urllib.request.urlopen

    def only_here(request: urllib.request.Request, timeout: float) -> object:
        assert request.full_url.startswith("http://127.0.0.1:"), request.full_url
        return urlopen(request, timeout=timeout)

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(urllib.request, "urlopen", only_here)


class Server(http.server.ThreadingHTTPServer):
    """Answers from `pages`: bytes, a status, or a function that is handed the request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, bytes | int | Callable[[Handler], None]] = {}
        self.asked: list[str] = []
        self.release = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, *_: object) -> None:
        """Stay silent when a client has gone."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        page = self.server.pages.get(self.path.lstrip("/"), 404)
        if callable(page):
            page(self)
        elif isinstance(page, int):
            self.send_error(page)
        else:
            self.begin(len(page))
            self.wfile.write(page)

    def begin(self, length: int | None) -> None:
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.release.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def official(server: Server) -> Callable[[], Official]:
    server.pages.update(PACKED)
    hashes = {name: md5(content) for name, content in PACKED.items()}
    return lambda: Official((server.url,), hashes)


def nobody() -> Official:
    raise AssertionError("the official hashes must not be asked for here")


def put(root: Path, files: dict[str, bytes], source: Source = SMALL) -> Path:
    raw = root / source.folder
    raw.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (raw / name).write_bytes(content)
    return raw


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# One file from the net


def test_download_arrives_whole_with_progress(server: Server, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    server.pages["a.gz"] = content
    seen: list[tuple[str, int, int | None]] = []
    download_file([server.url + "a.gz"], tmp_path / "a.gz", md5(content), lambda *state: seen.append(state))
    assert (tmp_path / "a.gz").read_bytes() == content
    assert names(tmp_path) == ["a.gz"]
    assert seen[0] == ("a.gz", 0, len(content))
    assert seen[-1] == ("a.gz", len(content), len(content))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_download_without_announced_length(server: Server, tmp_path: Path) -> None:
    def page(handler: Handler) -> None:
        handler.begin(None)
        handler.wfile.write(b"abc")

    server.pages["a"] = page
    seen: list[int | None] = []
    download_file([server.url + "a"], tmp_path / "a", md5(b"abc"), lambda _, done, total: seen.append(total))
    assert (tmp_path / "a").read_bytes() == b"abc"
    assert set(seen) == {None}


def break_off(handler: Handler) -> None:
    handler.begin(1000)
    handler.wfile.write(b"x" * 400)


def stall(handler: Handler) -> None:
    handler.begin(1000)
    handler.wfile.write(b"x" * 400)
    handler.wfile.flush()
    handler.server.release.wait(30)


def say_nothing(handler: Handler) -> None:
    handler.server.release.wait(30)


@pytest.mark.parametrize(
    ("page", "failure", "times"),
    [
        (b"another content", f"MD5 {md5(b'another content')}, expected", 1),
        (404, "Not Found", 1),
        (503, "Service Unavailable", 1),
        (break_off, "broke off after 400 of 1000 bytes", downloads.ATTEMPTS),
        (stall, "timed out", downloads.ATTEMPTS),
        (say_nothing, "timed out", 1),
    ],
)
def test_failed_download_leaves_nothing(
    server: Server, tmp_path: Path, page: bytes, failure: str, times: int
) -> None:
    server.pages["a.gz"] = page
    with pytest.raises(UnavailableError, match=r"a\.gz could not be downloaded") as caught:
        download_file([server.url + "a.gz"], tmp_path / "a.gz", md5(b"right"), timeout=0.2)
    assert failure in str(caught.value)
    assert server.url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(server.asked) == times
    assert names(tmp_path) == []


def test_failed_download_leaves_the_old_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(b"old")
    server.pages["a.gz"] = break_off
    with pytest.raises(UnavailableError):
        download_file([server.url + "a.gz"], tmp_path / "a.gz", md5(b"right"))
    assert (tmp_path / "a.gz").read_bytes() == b"old"
    assert names(tmp_path) == ["a.gz"]


def test_transfer_that_broke_off_is_begun_again(server: Server, tmp_path: Path) -> None:
    def once(handler: Handler) -> None:
        handler.server.pages["a"] = b"right"
        break_off(handler)

    server.pages["a"] = once
    download_file([server.url + "a"], tmp_path / "a", md5(b"right"))
    assert (tmp_path / "a").read_bytes() == b"right"


@pytest.mark.parametrize("bad", [404, b"captive portal", break_off, stall])
def test_next_mirror_is_asked(server: Server, tmp_path: Path, bad: bytes) -> None:
    server.pages.update({"bad/a": bad, "good/a": b"right"})
    urls = [server.url + "bad/a", server.url + "good/a"]
    download_file(urls, tmp_path / "a", md5(b"right"), timeout=0.2)
    assert (tmp_path / "a").read_bytes() == b"right"
    assert server.asked[-1] == "/good/a"


def test_address_without_a_server(tmp_path: Path) -> None:
    with Server() as gone:
        url = gone.url
    with pytest.raises(UnavailableError, match="Connection refused"):
        download_file([url + "a"], tmp_path / "a", md5(b"right"))


def test_endless_and_slow_transfers_are_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages["a"] = b"x" * 1000
    monkeypatch.setattr(downloads, "LARGEST", 999)
    with pytest.raises(UnavailableError, match="larger than 999 bytes"):
        download_file([server.url + "a"], tmp_path / "a", md5(b"right"))
    monkeypatch.setattr(downloads, "LARGEST", 1000)
    monkeypatch.setattr(downloads, "PATIENCE", -1.0)
    monkeypatch.setattr(downloads, "SLOWEST", 1e12)
    with pytest.raises(UnavailableError, match="slower than"):
        download_file([server.url + "a"], tmp_path / "a", md5(b"right"))
    assert names(tmp_path) == []


def test_disk_that_cannot_be_written_is_not_the_servers_fault(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages["a"] = b"right"

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnavailableError, match=r"a: cannot be written: No space left on device"):
        download_file([server.url + "a"], tmp_path / "a", md5(b"right"))
    assert len(server.asked) == 1
    assert names(tmp_path) == []


def test_interrupt_from_the_keyboard_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.pages["a"] = b"right"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_file([server.url + "a"], tmp_path / "a", md5(b"right"), interrupt)
    assert names(tmp_path) == []


# The four files of a data set


def test_forms_of_the_files() -> None:
    mnist = sources.SOURCES["mnist"]
    assert (
        list(mnist.sizes)
        == list(mnist.md5)
        == [
            "train-images-idx3-ubyte",
            "train-labels-idx1-ubyte",
            "t10k-images-idx3-ubyte",
            "t10k-labels-idx1-ubyte",
        ]
    )
    assert list(mnist.sizes.values()) == [47040016, 60008, 7840016, 10008]
    assert mnist.headers["train-images-idx3-ubyte"] == struct.pack(">4I", 0x803, 60000, 28, 28)
    assert list(sources.SOURCES["emnist-digits"].sizes)[3] == "emnist-digits-test-labels-idx1-ubyte"


@pytest.mark.parametrize("source", [SMALL, HASHED])
def test_missing_files_are_downloaded_unpacked_and_verified(
    source: Source, official: Callable[[], Official], server: Server, tmp_path: Path
) -> None:
    assert acquire(source, tmp_path, official) is True
    raw = tmp_path / source.folder
    assert names(raw) == sorted([*FILES, *PACKED])
    assert {name: (raw / name).read_bytes() for name in FILES} == FILES
    assert len(server.asked) == 4
    assert acquire(source, tmp_path, official, download=False) is True
    assert len(server.asked) == 4


def test_only_what_is_missing_is_downloaded(
    official: Callable[[], Official], server: Server, tmp_path: Path
) -> None:
    *_, last = FILES
    put(tmp_path, {name: content for name, content in FILES.items() if name != last})
    acquire(HASHED, tmp_path, official)
    assert server.asked == [f"/{last}.gz"]


def test_packed_files_need_no_download(
    official: Callable[[], Official], server: Server, tmp_path: Path
) -> None:
    raw = put(tmp_path, PACKED)
    assert can_unpack(HASHED, tmp_path, list(FILES), official)
    assert acquire(HASHED, tmp_path, official, download=False) is True
    assert {name: (raw / name).read_bytes() for name in FILES} == FILES
    assert server.asked == []


def test_broken_packed_file_is_replaced_or_refused(
    official: Callable[[], Official], server: Server, tmp_path: Path
) -> None:
    first = next(iter(PACKED))
    put(tmp_path, PACKED | {first: PACKED[first][:50]})
    with pytest.raises(UnavailableError, match="not in"):
        acquire(HASHED, tmp_path, official, download=False)
    assert acquire(HASHED, tmp_path, official) is True
    assert server.asked == [f"/{first}"]


@pytest.mark.parametrize("length", [0, 10, 200])
def test_truncated_file_is_never_taken(official: Callable[[], Official], tmp_path: Path, length: int) -> None:
    first = next(iter(FILES))
    raw = put(tmp_path, FILES | {first: FILES[first][:length], f"{first}.1a2b3c4d.part": FILES[first]})
    assert survey(HASHED, tmp_path, nobody).truncated == (first,)
    with pytest.raises(UnavailableError, match=f"{first}: truncated"):
        acquire(HASHED, tmp_path, nobody, download=False)
    assert acquire(HASHED, tmp_path, official) is True
    assert (raw / first).read_bytes() == FILES[first]


@pytest.mark.parametrize("source", [SMALL, HASHED])
def test_other_content_is_an_error_and_stays(
    source: Source, official: Callable[[], Official], server: Server, tmp_path: Path
) -> None:
    first = next(iter(FILES))
    other = FILES[first][:-1] + b"\x08"
    raw = put(tmp_path, PACKED | FILES | {first: other})
    with pytest.raises(DataError) as caught:
        acquire(source, tmp_path, official)
    assert not isinstance(caught.value, UnavailableError)
    kind = hashlib.md5 if source.md5 else hashlib.sha256
    for text in (str(raw / first), kind(other).hexdigest(), kind(FILES[first]).hexdigest()):
        assert text in str(caught.value)
    assert (raw / first).read_bytes() == other
    assert server.asked == []


def test_longer_file_is_an_error(tmp_path: Path) -> None:
    first = next(iter(FILES))
    put(tmp_path, FILES | {first: FILES[first] + b"\0"})
    with pytest.raises(DataError, match="expected"):
        acquire(HASHED, tmp_path, nobody)
    with pytest.raises(DataError, match="9425 bytes that begin with 00000803"):
        acquire(SMALL, tmp_path, nobody)


def test_files_of_another_set_are_called_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, FILES)
    monkeypatch.setitem(sources.SOURCES, "mnist", HASHED)
    other = {name: md5(content) for name, content in contents(SMALL, 3).items()}
    with pytest.raises(DataError, match="this is a file of mnist"):
        acquire(Source("MNIST/raw", ("train", "t10k"), (12, 5), other), tmp_path, nobody)
    with pytest.raises(DataError, match="this is a file of mnist"):  # without a hash of its own, too
        acquire(SMALL, tmp_path, nobody)


def test_files_without_proof_are_taken_unverified(tmp_path: Path) -> None:
    put(tmp_path, FILES)
    assert acquire(SMALL, tmp_path, nobody) is False
    assert survey(SMALL, tmp_path, nobody).unproven == tuple(FILES)


def test_header_of_another_shape_is_refused(tmp_path: Path) -> None:
    first = next(iter(FILES))
    put(tmp_path, FILES | {first: b"\0\0\x08\x04" + FILES[first][4:]})
    with pytest.raises(DataError, match="begin with 00000804"):
        acquire(SMALL, tmp_path, nobody)


def test_folder_that_cannot_be_made(official: Callable[[], Official], tmp_path: Path) -> None:
    (tmp_path / "MNIST").write_text("a file where a folder should be")
    with pytest.raises(UnavailableError, match="cannot be written"):
        acquire(HASHED, tmp_path, official)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (gzip.compress(b"\0" * 100_000, mtime=0), "unpacks to more bytes, expected 9424"),
        (gzip.compress(b"\0" * 50, mtime=0), "unpacks to 50 bytes, expected 9424"),
        (b"not gzip", "Not a gzipped file"),
        (gzip.compress(bytes(range(256)), mtime=0)[:40], "cannot be unpacked"),
    ],
)
def test_unpacking_is_bounded(tmp_path: Path, packed: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sources._unpack(io.BytesIO(packed), tmp_path / "out", 9424)
    assert names(tmp_path) == []


# One archive for all files, as EMNIST has it

DIGITS = Source("EMNIST/raw", ("emnist-digits-train", "emnist-digits-test"), (12, 5), archive="gzip.zip")
DIGIT_FILES = contents(DIGITS)


def archive(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        packed.writestr("gzip/emnist-letters-mapping.txt", b"1 65 97")
        for name, data in files.items():
            packed.writestr(f"gzip/{name}.gz", gzip.compress(data, mtime=0))
    return content.getvalue()


ZIP = archive(DIGIT_FILES)


@pytest.fixture
def official_zip(server: Server) -> Callable[[], Official]:
    server.pages["gzip.zip"] = ZIP
    return lambda: Official((server.url,), {"gzip.zip": md5(ZIP)})


def test_archive_is_unpacked_and_its_hashes_kept(
    official_zip: Callable[[], Official], server: Server, tmp_path: Path
) -> None:
    assert acquire(DIGITS, tmp_path, official_zip) is True
    raw = tmp_path / DIGITS.folder
    assert names(raw) == sorted([*DIGIT_FILES, sources.HASHES])
    assert acquire(DIGITS, tmp_path, nobody, download=False) is True
    assert len(server.asked) == 1

    first = next(iter(DIGIT_FILES))
    (raw / first).write_bytes(DIGIT_FILES[first][:-1] + b"\x08")
    with pytest.raises(DataError, match="SHA-256"):
        acquire(DIGITS, tmp_path, nobody)


def test_archive_that_lies_there_is_used_and_stays(
    official_zip: Callable[[], Official], server: Server, tmp_path: Path
) -> None:
    raw = put(tmp_path, {"gzip.zip": ZIP}, DIGITS)
    assert can_unpack(DIGITS, tmp_path, list(DIGIT_FILES), official_zip)
    assert acquire(DIGITS, tmp_path, official_zip, download=False) is True
    assert server.asked == []
    assert (raw / "gzip.zip").exists()
    (raw / sources.HASHES).unlink()
    assert acquire(DIGITS, tmp_path, official_zip, download=False) is True  # proved by the archive itself


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"sha256": 3}', '{"sha256": {}}'])
def test_broken_record_of_hashes_proves_nothing(tmp_path: Path, record: str) -> None:
    raw = put(tmp_path, DIGIT_FILES, DIGITS)
    (raw / sources.HASHES).write_text(record)
    assert acquire(DIGITS, tmp_path, nobody) is False


def test_archive_without_the_files(server: Server, tmp_path: Path) -> None:
    first, *_ = DIGIT_FILES
    lacking = archive({name: content for name, content in DIGIT_FILES.items() if name != first})
    for page in (lacking, b"no zip"):
        server.pages["gzip.zip"] = page
        found = Official((server.url,), {"gzip.zip": md5(page)})
        with pytest.raises(DataError, match=r"gzip\.zip: "):
            acquire(DIGITS, tmp_path, lambda found=found: found)
        assert set(names(tmp_path / DIGITS.folder)) <= {"gzip.zip"}


def test_record_of_hashes_is_plain_json(official_zip: Callable[[], Official], tmp_path: Path) -> None:
    acquire(DIGITS, tmp_path, official_zip)
    kept = json.loads((tmp_path / DIGITS.folder / sources.HASHES).read_text())
    assert kept["sha256"] == {name: hashlib.sha256(data).hexdigest() for name, data in DIGIT_FILES.items()}
