"""What share of small faults in the core do its tests notice?

    python benchmarks/mutation.py --name core          # --only conformal,folder --each 30 --seed 0
    python benchmarks/mutation.py --name core --again  # after tests were written: those that lived

Each mutant is one module with one fault (a comparison turned round, a sum for a difference, a condition without its
`not`, a call or an error that is left out, another constant, nothing returned), drawn at random among all there could
be. The tests of its room run against it in a copy of the checkout, in a process of their own, up to the first that
fails. A mutant that no test kills is printed with its line. Writes reports/mutation/NAME.json and the table beside it.
"""

import argparse
import ast
import contextlib
import importlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
# The core, and the tests that should notice what is wrong with it, the likeliest first.
TARGETS = {
    "conformal": (
        "evaluation/conformal.py",
        "tests/evaluation/test_conformal.py tests/evaluation/test_cross_conformal.py tests/detectors/test_judging.py",
    ),
    "cross_conformal": (
        "evaluation/cross_conformal.py",
        "tests/evaluation/test_cross_conformal.py tests/detectors/test_folds.py",
    ),
    "intervals": (
        "evaluation/intervals.py",
        "tests/evaluation/test_intervals.py tests/evaluation/test_roc_band.py tests/evaluation/test_metrics.py "
        "tests/evaluation/test_significance.py",
    ),
    "metrics": (
        "evaluation/metrics.py",
        "tests/evaluation/test_metrics.py tests/runs/test_results.py tests/test_cards.py",
    ),
    "drift": ("evaluation/drift.py", "tests/evaluation/test_drift.py"),
    "two_calibrations": (
        "evaluation/two_calibrations.py",
        "tests/evaluation/test_two_calibrations.py tests/evaluation/test_cross_conformal.py",
    ),
    "splits": (
        "datasets/splits.py",
        "tests/datasets/test_splits.py tests/datasets/test_dataset.py tests/detectors/test_folds.py",
    ),
    "folds": ("detectors/folds.py", "tests/detectors/test_folds.py"),
    "files": (
        "files.py",
        "tests/test_files.py tests/runs/test_results.py tests/runs/test_hostile.py",
    ),
    "saving": (
        "detectors/saving.py",
        "tests/detectors/test_saving.py tests/detectors/test_verifying.py "
        "tests/detectors/test_folds.py::test_calibrations_of_other_folds_of_as_many_images_are_told_apart "
        "tests/detectors/test_ensemble.py::test_neighbours_weigh_as_their_distance_says_and_networks_share_the_rest",
    ),
    "judging": (
        "detectors/judging.py",
        "tests/detectors/test_judging.py tests/cli/test_score.py "
        "tests/detectors/test_folds.py::test_calibrations_of_other_folds_of_as_many_images_are_told_apart",
    ),
    "row_files": (
        "detectors/row_files.py",
        "tests/detectors/test_row_files.py tests/cli/test_score_stream.py tests/cli/test_shards.py",
    ),
    "shards": ("detectors/shards.py", "tests/cli/test_shards.py"),
    "folder": (
        "runs/folder.py",
        "tests/runs/test_folder.py tests/runs/test_hostile.py tests/cli/test_runs.py",
    ),
    "record": (
        "runs/record.py",
        "tests/runs/test_folder.py tests/runs/test_hostile.py tests/detectors/test_saving.py "
        "tests/detectors/test_folds.py::test_only_runs_of_folds_have_a_format_that_older_ones_refuse "
        "tests/detectors/test_starting.py",
    ),
    "results": (
        "runs/results.py",
        "tests/runs/test_results.py tests/runs/test_hostile.py tests/cli/test_evaluate.py",
    ),
    "calibrations": (
        "runs/calibrations.py",
        "tests/detectors/test_own_calibrations.py tests/cli/test_calibrate.py::test_they_are_listed_and_deleted",
    ),
    "locks": ("runs/locks.py", "tests/runs/test_folder.py tests/runs/test_hostile.py"),
    "compiled": ("images/compiled.py", "tests/images/test_compiled.py"),
}
# They take longest, and look at other things than these.
LEFT_OUT = (
    "tests/cli/test_evaluate.py::TestBenchmark",
    "tests/cli/test_evaluate.py::test_another_alpha_is_told_and_not_kept",
    "tests/cli/test_runs.py::test_delete_asks_first_at_a_terminal",
    "tests/cli/test_runs.py::test_the_argument_and_the_option_name_the_same_run",
    "tests/cli/test_score.py::test_a_list_is_whole_wherever_its_start_is_cut",
    "tests/cli/test_score.py::test_strange_file_names",
    "tests/cli/test_score_stream.py::test_ctrl_c_says_how_to_go_on",
    "tests/detectors/test_saving.py::test_saved_and_loaded_neighbours_score_the_same",
    "tests/detectors/test_saving.py::test_shapes_are_compared_before_memory_is_taken",
    "tests/runs/test_hostile.py::test_a_disk_full_at_the_first_checkpoint_leaves_the_name_free",
)
# What the tests need of a checkout.
COPIED = ("anomalae", "tests", "conftest.py", "pyproject.toml")
# Imported before a process is split off for each mutant; nothing of ours, for that is what changes, and nothing that
# pytest rewrites.
HEAVY = (
    "numpy",
    "numba",
    "scipy.stats",
    "sklearn.metrics",
    "torch",
    "matplotlib.pyplot",
    "rich.console",
    "pytest",
)
# A mutant whose tests take this many times what they take without a fault, and a minute more, never ends.
TIMES = 5
SWAPPED: dict[type[ast.AST], str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.Is: "is not",
    ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in", ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*",
    ast.FloorDiv: "*", ast.Mod: "*", ast.And: "or", ast.Or: "and",
}  # fmt: skip


class Mutant(NamedTuple):
    """One fault: the lines of a module from `first` to `last` (from 1) read as `text`."""

    first: int
    last: int
    text: str
    was: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(TARGETS))
    parser.add_argument("--each", type=int, default=20, help="mutants of a module, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=ROOT / "reports/mutation")
    parser.add_argument("--name", default=datetime.now(UTC).strftime("%Y-%m-%d-%H%M"))
    parser.add_argument(
        "--again", action="store_true", help="try those again that the table of that name has as alive"
    )
    given = parser.parse_args()
    unknown = set(given.only) - set(TARGETS)
    if unknown:
        parser.error(f"--only {', '.join(sorted(unknown))}: must be of {', '.join(TARGETS)}")
    os.environ["OMP_WAIT_POLICY"], os.environ["OMP_NUM_THREADS"] = "PASSIVE", "1"
    os.environ.pop("ANOMALAE_DATA", None)
    for name in HEAVY:
        importlib.import_module(name)
    kept = given.output / f"{given.name}.json"
    rows = json.loads(kept.read_text())["rows"] if kept.exists() else {}
    names = [name for name in given.only if not given.again or (name in rows and rows[name]["lived"])]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        copy = Path(temporary) / "anomalae"
        copy.mkdir()
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, copy)
        for name in names:
            rows[name] = tried_on(name, copy, given, rows[name] if given.again else None)
            write(given, rows)


def tried_on(name: str, copy: Path, given: argparse.Namespace, before: dict | None) -> dict:
    """Try mutants of a module, or those that lived `before`; return how many were killed, and which were not."""
    path, tests = TARGETS[name]
    tests = f"anomalae/{path} {tests}"
    module = copy / "anomalae" / path
    source = module.read_text()
    every = [mutant for mutant in mutants(source) if is_code(mutated(source, mutant))]
    drawn = random.Random(f"{given.seed} {name}").sample(every, min(given.each, len(every)))
    if before is not None:
        lived = [(one["was"], one["is"]) for one in before["lived"]]
        drawn = [mutant for mutant in every if (mutant.was.strip(), mutant.text.strip()) in lived]
    started, lived = time.monotonic(), []
    if status := tried(copy, tests):
        sys.exit(f"{name}: its tests end with status {status} without any fault")
    seconds = time.monotonic() - started
    print(f"{name}: {seconds:.0f} s without a fault", flush=True)
    put(module, "(\n")
    if not tried(copy, tests, seconds):
        sys.exit(f"{name}: its tests do not import {module}")
    for mutant in drawn:
        put(module, mutated(source, mutant))
        if not tried(copy, tests, seconds):
            one = {"line": mutant.first, "was": mutant.was.strip(), "is": mutant.text.strip()}
            lived.append(one)
            print(f"{path}:{one['line']}: not noticed: {one['was']}  ->  {one['is']}", flush=True)
    put(module, source)
    # Where all were killed, perhaps something else did it.
    if not lived and tried(copy, tests, seconds):
        sys.exit(f"{name}: its tests fail without a fault after those with one")
    n = before["tried"] if before else len(drawn)
    print(f"{name}: {n - len(lived)} of {n} killed, {time.monotonic() - started:.0f} s", flush=True)
    killed = n - len(lived)
    # Before tests were written for those that lived.
    first = before["first"] if before else killed
    return {
        "module": path,
        "possible": len(every),
        "tried": n,
        "first": first,
        "killed": killed,
        "lived": lived,
    }


def put(module: Path, source: str) -> None:
    """Write a module, and remove what was compiled of it: one of the same second and size would be taken for it."""
    module.write_text(source)
    for compiled in (module.parent / "__pycache__").glob(f"{module.stem}.*.pyc"):
        compiled.unlink()


def mutated(source: str, mutant: Mutant) -> str:
    """Return a module with its fault."""
    lines = source.splitlines(keepends=True)
    lines[mutant.first - 1 : mutant.last] = [mutant.text]
    return "".join(lines)


def is_code(source: str) -> bool:
    """Tell whether a mutant is Python still; places inside an f-string of several lines are not told rightly."""
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def mutants(source: str) -> Iterator[Mutant]:
    """Give all faults that a module could have, docstrings and what only the types' checker reads aside."""
    tree = ast.parse(source)
    lines = source.splitlines(keepends=True)

    def replaced(node: ast.AST, text: str) -> Iterator[Mutant]:
        first, last = node.lineno, node.end_lineno
        head = lines[first - 1].encode()[: node.col_offset].decode()
        tail = lines[last - 1].encode()[node.end_col_offset :].decode()
        was = "".join(lines[first - 1 : last])
        if ast.unparse(ast.parse(ast.unparse(node))) != text:
            yield Mutant(first, last, head + text + tail, was)

    for node in ast.walk(tree):
        match node:
            case ast.Compare(left, [op], [right]) if type(op) in SWAPPED:
                yield from replaced(node, f"({ast.unparse(left)} {SWAPPED[type(op)]} {ast.unparse(right)})")
            case ast.BinOp(left, op, right) if type(op) in SWAPPED:
                yield from replaced(
                    node, f"(({ast.unparse(left)}) {SWAPPED[type(op)]} ({ast.unparse(right)}))"
                )
            case ast.BoolOp(op, values):
                yield from replaced(
                    node, "(" + f" {SWAPPED[type(op)]} ".join(f"({ast.unparse(v)})" for v in values) + ")"
                )
            case ast.UnaryOp(ast.Not(), operand):
                yield from replaced(node, f"({ast.unparse(operand)})")
            case ast.Constant(value) if isinstance(value, bool):
                yield from replaced(node, str(not value))
            case ast.Constant(value) if isinstance(value, int):
                yield from replaced(node, str(value + 1))
            case ast.Return(ast.AST() as value) if not isinstance(value, ast.Constant):
                yield from replaced(node, "return None")
            case ast.Expr(ast.Call()) | ast.Raise():
                yield from replaced(node, "pass")
            case ast.Constant("left" | "right" as side):
                yield from replaced(node, repr({"left": "right", "right": "left"}[side]))


def tried(copy: Path, tests: str, seconds: float | None = None) -> int:
    """Run tests in a process of their own; return 0 where all pass.

    seconds: what they take without a fault; None for a first time, whose words are shown where they fail.
    """
    child = multiprocessing.get_context("fork").Process(target=run_tests, args=(copy, tests))
    child.start()
    child.join(600 if seconds is None else TIMES * seconds + 60)
    if child.exitcode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid or 0, signal.SIGKILL)
        child.join()
    status = child.exitcode or 0
    if status and seconds is None:
        print((copy.parent / "said.txt").read_text(), file=sys.stderr)
    return status


def run_tests(copy: Path, tests: str) -> None:
    """Run tests in this process, of the package in `copy`, and end with their status."""
    os.setpgrp()
    os.chdir(copy)
    # Before anything else that could hold the package, and for the processes that tests start.
    sys.path.insert(0, str(copy))
    os.environ["PYTHONPATH"] = str(copy)
    said = os.open(copy.parent / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    import pytest

    words = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-seed", "0", "--basetemp"]
    words += [str(copy.parent / "tests"), "-m", "not slow and not mnist", *tests.split()]
    words += [word for test in LEFT_OUT for word in ("--deselect", test)]
    sys.exit(int(pytest.main(words)))


def write(given: argparse.Namespace, rows: dict[str, dict]) -> None:
    """Keep the table."""
    first, killed, count = (sum(row[key] for row in rows.values()) for key in ("first", "killed", "tried"))
    given.output.mkdir(parents=True, exist_ok=True)
    document = {"seed": given.seed, "rows": rows}
    (given.output / f"{given.name}.json").write_text(json.dumps(document, indent=1) + "\n")
    table = [
        "| module | faults there could be | tried | killed at first | killed now |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in rows.values():
        numbers = " | ".join(str(row[key]) for key in ("possible", "tried", "first", "killed"))
        table.append(f"| `{row['module']}` | {numbers} |")
    lived = [
        f"- `{row['module']}:{one['line']}`: `{one['was']}` as `{one['is']}`"
        for row in rows.values()
        for one in row["lived"]
    ]
    shares = f"{first} of {count} killed at first, {first / count:.0%}; now {killed}, {killed / count:.0%}"
    command = f"`python benchmarks/mutation.py --seed {given.seed} --name {given.name}`"
    lines = [f"{command}: {shares}.", "", *table, "", "Not noticed:", ""]
    (given.output / f"{given.name}.md").write_text("\n".join([*lines, *lived, ""]))


if __name__ == "__main__":
    main()
