"""The notebooks run from top to bottom without a network, and show the figures that they draw."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
DRAWS = ("plots.", "pictures(", "plt.show(", "    display(")
# Epochs as a notebook writes them; to train so long is what takes the time.
EPOCHS = re.compile(r"""(epochs(?:=|": ))\d+""")
NOTEBOOKS = sorted(ROOT.glob("examples/*.ipynb"))


def name_of(path: Path) -> str:
    return path.stem


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def execute(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Any], None]]:
    """Runs a notebook in a kernel that all share, emptied before each: most time went into starts and imports."""
    kernel = AsyncKernelManager(kernel_name="python3")
    place = str(tmp_path_factory.mktemp("notebooks"))

    def run(notebook: Any) -> None:
        emptied = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("%reset -f")])
        for book in (emptied, notebook):
            client = NotebookClient(book, km=kernel, resources={"metadata": {"path": place}})
            try:
                client.execute()
            finally:
                client.kc.stop_channels()

    yield run
    if kernel.has_kernel:
        run_sync(kernel.shutdown_kernel)(now=True)


def test_there_are_notebooks():
    assert set(map(name_of, NOTEBOOKS)) == {
        "main_job",
        "what_an_autoencoder_learns",
        "beside_pyod",
        "vae_bounds",
    }


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_notebook_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in code_cells(notebook):
        assert (cell.outputs, cell.execution_count) == ([], None), cell.source


@pytest.mark.parametrize("epochs", [2, pytest.param(None, marks=pytest.mark.slow, id="all")])
@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_notebook_runs_and_shows_its_figures(path, epochs, execute):
    notebook = nbformat.read(path, as_version=4)
    if epochs:
        shortened = 0
        for cell in code_cells(notebook):
            cell.source, count = EPOCHS.subn(rf"\g<1>{epochs}", cell.source)
            shortened += count
        assert shortened, "no training is shortened"
    execute(notebook)
    for cell in code_cells(notebook):
        assert not [output for output in cell.outputs if output.get("name") == "stderr"], cell.source
        shown = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        assert bool(shown) == any(line.startswith(DRAWS) for line in cell.source.splitlines()), cell.source
