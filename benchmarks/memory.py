"""How much more memory `anomalae score` takes for a million rows than for ten thousand.

    python benchmarks/memory.py            # --rows 1000000 --only csv,fdr,parquet --format npy

The images are scikit-learn's digits over and over, in one file that is read from disk, made in a temporary folder and
removed after; the run is a small network, as what is measured does not hang on it. The peak is that of the process (its
largest resident set) as the system tells it. Writes reports/memory/NAME.json and the table beside it.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from anomalae import Detector, files, load_dataset

FEW, LIMIT_MB = 10_000, 100
# What is asked for beside the plain rows; FILE is the file that is written.
WAYS = {
    "csv": ["--output", "FILE.csv"],
    "jsonl": ["--output", "FILE.jsonl"],
    "json": ["--output", "FILE.json"],
    "parquet": ["--output", "FILE.parquet"],
    "fdr": ["--output", "FILE.csv", "--fdr", "0.05"],
    "parquet-fdr": ["--output", "FILE.parquet", "--fdr", "0.05"],
    "printed": [],
    "top": ["--output", "FILE.csv", "--top", "100"],
    "resume": ["--output", "FILE.csv", "--fdr", "0.05", "--resume"],
}

# Runs a command without what it prints, and prints its peak.
SMALL = """
import os, sys
nobody = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[nobody]), 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(WAYS))
    parser.add_argument("--format", choices=["idx", "npy"], default="idx")
    parser.add_argument("--output", type=Path, default=Path("reports/memory"))
    parser.add_argument("--name", default=datetime.now(UTC).strftime("%Y-%m-%d-%H%M"))
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        split = load_dataset("digits").one_class(normal=[8], seed=0)
        detector = Detector(epochs=1, hidden=(16,), latent_dim=4, seed=0, device="cpu", threads=1)
        detector.fit(split.train.images, split.validation.images, split.calibration.images)
        detector.save(folder / "run")
        for way in given.only:
            peaks = []
            for n in (FEW, given.rows):
                file = write(folder / f"{n}.{given.format}", n, split.train.images)
                peak, seconds = measure(folder, file, way, n)
                peaks.append(peak)
                print(f"{way}, {n:,} rows: {peak:.0f} MB, {seconds:.0f} s", flush=True)
            rows.append({"way": way, "few_mb": peaks[0], "many_mb": peaks[1], "more_mb": peaks[1] - peaks[0]})
    made = {"rows": given.rows, "few": FEW, "format": given.format, "limit_mb": LIMIT_MB, "ways": rows}
    given.output.mkdir(parents=True, exist_ok=True)
    files.write_json(given.output / f"{given.name}.json", made)
    files.write_bytes(given.output / f"{given.name}.md", markdown(made).encode())
    print(markdown(made))
    if any(row["more_mb"] > LIMIT_MB for row in rows):
        sys.exit(f"more than {LIMIT_MB} MB above {FEW:,} rows")


def write(path: Path, n: int, images: np.ndarray) -> Path:
    """Write so many images, uint8 (N, 28, 28), as an IDX or .npy file, a part after another."""
    if path.exists():
        return path
    with path.open("wb") as file:
        if path.suffix == ".idx":
            file.write(bytes([0, 0, 8, 3]) + np.array([n, 28, 28], ">u4").tobytes())
        else:
            header = {"descr": "|u1", "fortran_order": False, "shape": (n, 28, 28)}
            np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, n, FEW):
            file.write(np.resize(images, (min(FEW, n - start), 28, 28)).tobytes())
    return path


def measure(folder: Path, file: Path, way: str, n: int) -> tuple[float, float]:
    """Return the peak of a call in MB, and its seconds."""
    target = folder / f"scores-{n}"
    options = [option.replace("FILE", str(target)) for option in WAYS[way]]
    command = [sys.executable, "-m", "anomalae", "score", str(file), "--run", str(folder / "run")]
    command += [*options, "--threads", "1", "--quiet"]
    if way == "resume":
        begin(command, folder / f"{target.name}.csv.part", n)
    begun = time.monotonic()
    peak = peak_of(command)
    for left in folder.glob("scores-*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return peak, time.monotonic() - begun


def begin(command: list[str], part: Path, n: int) -> None:
    """Score, and kill the call when about nine tenths of the rows are written."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    # A row takes at least so many bytes, by its path and its numbers.
    while process.poll() is None and (not part.exists() or part.stat().st_size < 0.9 * n * 50):
        time.sleep(0.01)
    process.kill()
    process.wait()


def peak_of(command: list[str]) -> float:
    """Run a command, and return the largest resident set of its process in MB."""
    # From a small process: a new one counts the memory of the one it was split off from, and here PyTorch is loaded.
    done = subprocess.run([sys.executable, "-S", "-c", SMALL, *command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: ended with {done.returncode}")
    # In bytes on macOS, in kB elsewhere.
    return int(done.stdout) / (2**20 if sys.platform == "darwin" else 2**10)


def markdown(made: dict) -> str:
    """The table."""
    lines = [
        f"| `anomalae score` | {made['few']:,} rows | {made['rows']:,} rows | more, MB |",
        "|---|--:|--:|--:|",
    ]
    for row in made["ways"]:
        options = " ".join(WAYS[row["way"]]) or "rows printed"
        name = "begun, killed, " if row["way"] == "resume" else ""
        lines.append(
            f"| {name}`{options}` | {row['few_mb']:.0f} | {row['many_mb']:.0f} | {round(row['more_mb'])} |"
        )
    return "\n".join(
        [*lines, "", f"Peak of the process in MB; one {made['format']} file read from disk.", ""]
    )


if __name__ == "__main__":
    main()
