"""`anomalae serve`: a server that judges images which are sent to it."""

from __future__ import annotations

import contextlib
import signal
import socket
from pathlib import Path

import click

from anomalae.cli import console, tables
from anomalae.cli import options as common
from anomalae.errors import ConfigError
from anomalae.text import listed

# Addresses that stand for all of this machine's.
EVERYWHERE = ("0.0.0.0", "::")
# `anomalae.images.pictures.MAX_PIXELS`, which would take Pillow to say.
MOST_PIXELS = 89_478_485


@click.command("serve")
@common.runs_operands
@common.runs_dir_option
@common.alpha_option
@common.calibration_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 is all.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one."
)
@click.option(
    "--allow-host",
    "allowed",
    metavar="NAME",
    multiple=True,
    help="Answer to this name too, as in digits.example.org; repeatable. Without it to that of --host and those of "
    "the loopback; with --host 0.0.0.0 to any.",
)
@click.option(
    "--max-mb",
    type=click.FloatRange(0, 4096, min_open=True),
    default=64,
    show_default=True,
    help="Of a request.",
)
@click.option(
    "--max-images", type=click.IntRange(1, 10**6), default=10_000, show_default=True, help="Of a request."
)
@click.option(
    "--max-pixels",
    type=click.IntRange(1, MOST_PIXELS),
    default=50_000_000,
    show_default=True,
    help="Of a picture.",
)
@click.option(
    "--timeout",
    type=float,
    callback=common.seconds,
    default=60,
    show_default=True,
    help="Seconds of a request.",
)
@common.machine_options
@common.quiet_option
def command(
    names: tuple[str, ...],
    runs_dir: Path,
    alpha: float,
    calibration: str | None,
    host: str,
    port: int,
    allowed: tuple[str, ...],
    max_mb: float,
    max_images: int,
    max_pixels: int,
    timeout: float,
    device: str,
    threads: int | None,
    quiet: bool,
) -> None:
    """Serve runs over HTTP: images are sent to POST /score, and their verdicts come back. Needs anomalae[serve].

    Runs are loaded once; the first one judges where a request names none. Without a RUN it is the newest finished one.
    Requests that wait are scored together. GET /docs says what can be asked; /health, /runs, /metrics (for Prometheus)
    and /openapi.json say the rest. Nothing that is sent is kept. Only this machine is answered unless --host says
    otherwise; whoever can reach the server can use it. Ctrl-C finishes what is under way.

    \b
    Example:
      anomalae serve mnist-0-ae
      curl -F files=@scan.png http://127.0.0.1:8000/score
      curl --data-binary @digits.npy -H 'Content-Type: application/octet-stream' 'http://127.0.0.1:8000/score?alpha=0.01'
    """
    from anomalae import runs
    from anomalae.detectors.detector import Detector

    try:
        from anomalae.server.app import Served, application
        from anomalae.server.connections import make_server
        from anomalae.server.guards import LOOPBACK
        from anomalae.server.limits import Limits
    except ImportError as error:
        raise ConfigError(f"serve needs {error.name}: pip install 'anomalae[serve]'") from None
    folders = [runs.resolve(name, runs_dir) for name in names or (None,)]
    if len({folder.resolve().name for folder in folders}) < len(folders):
        raise click.UsageError("two runs have the same name")
    detectors = {
        folder.resolve().name: Detector.load(folder, device=device, threads=threads) for folder in folders
    }
    served = Served(detectors, alpha=alpha, calibration=calibration)
    limits = Limits(max_mb, max_images, max_pixels, timeout)
    hosts = {"*"} if host in EVERYWHERE and not allowed else {*LOOPBACK, host, *allowed}
    with _listening(host, port) as listening:
        place = f"http://{_shown(host)}:{listening.getsockname()[1]}"
        if not quiet:
            told = console.out_console()
            tables.say(f"serving {listed(detectors)} at {place}; Ctrl-C stops", told)
            if host not in LOOPBACK:
                by = ", by any name: --allow-host NAME keeps it to one" if "*" in hosts else ""
                tables.say(f"other machines are answered too{by}", told, style="yellow")
        server = make_server(application(served, hosts=hosts, limits=limits), limits)
        # What uvicorn has stopped for it sends again when all is finished.
        signal.signal(signal.SIGTERM, lambda *_: None)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
    if not quiet:
        tables.say("stopped", console.out_console())


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens there. Raises ConfigError where it cannot."""
    listening = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        if listening is not None:
            listening.close()
        reason = error.strerror or error
        raise ConfigError(f"{host}:{port}: cannot be listened at: {reason}", setting="port") from None
    return listening


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
