"""A study run twice gives the same table."""

from __future__ import annotations

from anomalae.experiments.cells import Cell
from anomalae.experiments.executors.here import Here
from anomalae.experiments.kept_cells import Shelf, do_all
from anomalae.experiments.studies import latent_dim
from anomalae.experiments.studies.base import Scope


def test_a_study_run_twice_gives_the_same_table(digits, tmp_path):
    # Three cells of the quick study of widths, a plain, a denoising and a variational autoencoder, made tiny.
    cells = [cell for cell in latent_dim.cells(Scope(digits, quick=True)) if cell.arguments["width"] == 4]
    cells = [cell for cell in cells if cell.arguments["kind"] == "one"]
    tiny = {"hidden": (8,), "epochs": 2}
    cells = [
        Cell(cell.work, {**cell.arguments, "settings": {**cell.arguments["settings"], **tiny}}, cell.source)
        for cell in cells
    ]
    tables = []
    for name in ("first", "second"):
        outcomes = do_all(cells, Shelf(tmp_path / name), Here())
        assert not any(outcome.kept for outcome in outcomes)
        rows = latent_dim.rows(outcomes)
        tables.append([{key: row[key] for key in row if not key.endswith("seconds")} for row in rows])
    assert len(tables[0]) == 3
    assert tables[0] == tables[1]
    assert len({row["mse_held_out"] for row in tables[0]}) == 3
