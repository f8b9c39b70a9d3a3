"""How fast everything is, side by side in one run: training, scoring, neighbours, folders and start-up.

    python benchmarks/speed.py            # --only scoring,folders --rounds 5 --quick --against FILE

CPU seconds on one thread, each figure the median of several rounds in turn with its noise; ratios are what counts, the
rest is this machine's. Digit 8 of MNIST where it is there, else scikit-learn's digits. Writes reports/speed/NAME.json,
NAME being the time, and the table beside it; says what got slower than the last one there by more than the noise.
"""

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits
from timing import folders, neighbours, scoring, start_up, training
from timing.rounds import Task
from timing.table import changes, document, markdown, newest

from anomalae import files, load_dataset
from anomalae.errors import AnomalaeError

SECTIONS = {module.SECTION: module for module in (training, scoring, neighbours, folders, start_up)}
NORMAL, SCORED = 8, 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=_sections, default=list(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument(
        "--rounds", type=_count, help="of each section; else 3 of training and 5 of the others"
    )
    parser.add_argument("--quick", action="store_true", help="few images and one round, to see that all runs")
    parser.add_argument("--threads", type=_count, default=1)
    parser.add_argument("--data-dir")
    parser.add_argument("--against", type=Path, help="a JSON file of before; else the newest made alike")
    parser.add_argument("--output", type=Path, default=Path("reports/speed"))
    parser.add_argument("--name", default=datetime.now(UTC).strftime("%Y-%m-%d-%H%M"))
    given = parser.parse_args()
    before = files.read_json(given.against) if given.against else None
    load = os.getloadavg()[0]
    torch.set_num_threads(given.threads)
    task, dataset = _task(given)
    rows = []
    with threadpool_limits(given.threads):
        for name in given.only:
            print(f"{name} ...", flush=True)
            rows += SECTIONS[name].measure(task)
    made = document(rows, threads=given.threads, dataset=dataset, normal=NORMAL, quick=given.quick, load=load)
    given.output.mkdir(parents=True, exist_ok=True)
    last = given.against or newest(given.output, made)
    if before is None and last is not None:
        before = files.read_json(last)
    files.write_json(given.output / f"{given.name}.json", made)
    text = markdown(made)
    files.write_bytes(given.output / f"{given.name}.md", text.encode())
    print(f"\n{text}")
    if before is None:
        print(f"Nothing to compare with in {given.output}: the first of its kind.")
        return
    print(f"Since {last} of {before['created']}:")
    for change, lines in changes(made, before).items():
        print(f"{change}: " + ("\n  ".join(["", *lines]) if lines else "nothing"))


def _task(given: argparse.Namespace) -> tuple[Task, str]:
    """What is measured with, and the name of its data set."""
    name = "digits" if given.quick else "mnist"
    try:
        dataset = load_dataset(name, given.data_dir)
    except AnomalaeError as error:
        print(f"{error}\nscikit-learn's digits are measured with in place of MNIST's", file=sys.stderr)
        dataset = load_dataset("digits")
    split = dataset.one_class(normal=[NORMAL], seed=0)
    images = dataset.train.images
    some = images[:: max(1, len(images) // SCORED)]
    return Task(split, some, threads=given.threads, rounds=given.rounds, quick=given.quick), dataset.name


def _sections(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in SECTIONS:
            raise argparse.ArgumentTypeError(f"{name!r}: must be of {', '.join(SECTIONS)}")
    return names


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, at least 1")
    return int(text)


if __name__ == "__main__":
    main()
