"""Fuzz the readers with coverage as the guide, for a time; what is found is written to the working folder.

Needs atheris, which is not installed with anomalae: `pip install atheris`.

    python -m tests.fuzz.atheris_targets --seconds 60 a.png run/config.json
    python -m tests.fuzz.atheris_targets --list
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def fuzz(name: str, seconds: int, memory: int) -> None:
    """Fuzz one target in this process, which it ends."""
    import atheris

    with atheris.instrument_imports(include=["anomalae", "PIL", "zipfile", "gzip", "tomllib", "json", "csv"]):
        from tests.fuzz.targets import TARGETS, seeds

    folder = Path(tempfile.mkdtemp(prefix="atheris-"))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, content in enumerate(seeds(name)):
        (corpus / str(number)).write_bytes(content)
    found = f"found-{name.replace('/', '-')}-"
    options = [
        f"-max_total_time={seconds}", f"-rss_limit_mb={memory}", "-timeout=20", f"-artifact_prefix={found}",
        "-max_len=20000", "-verbosity=0", "-print_final_stats=1", "-close_fd_mask=0",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda content: TARGETS[name](content, folder))
    atheris.Fuzz()


def main() -> int:
    """Fuzz the targets that are named, one after another, a process each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", help="default: all")
    parser.add_argument("--seconds", type=int, default=60, help="of each target (default: 60)")
    parser.add_argument("--memory", type=int, default=3000, help="MiB a process may have (default: 3000)")
    parser.add_argument("--list", action="store_true", help="print the targets")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        fuzz(asked.targets[0], asked.seconds, asked.memory)
    from tests.fuzz.targets import TARGETS

    if asked.list:
        print(*TARGETS, sep="\n")
        return 0
    failed = []
    for name in asked.targets or TARGETS:
        words = ["--here", "--seconds", str(asked.seconds), "--memory", str(asked.memory), name]
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.atheris_targets", *words],
            env=os.environ, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        runs = next((line for line in done.stderr.splitlines() if "number_of_executed_units" in line), "?")
        print(f"{name}: {'fault' if done.returncode else 'nothing'}; {runs}", flush=True)
        if done.returncode:
            print(done.stdout[-3000:], done.stderr[-3000:], sep="\n", flush=True)
            failed.append(name)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
