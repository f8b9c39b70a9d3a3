"""What the rule by which `tune` judges is worth: how the study of it came out."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from anomalae import files
from anomalae.errors import BundleError
from anomalae.experiments.studies.choosing import ALWAYS, ANY, LOSS, SYNTHETIC, TOGETHER
from anomalae.experiments.studies.selection import NAME
from anomalae.text import plural, shortened

LONGEST = 60
# Of the full study on MNIST, as in `reports/studies/selection/table.json`.
MEASURED: dict[str, Any] = {
    "problems": 10,
    "spearman": 0.47,
    "lost": {SYNTHETIC: 0.0064, ANY: 0.0144, LOSS: 0.0022, ALWAYS: 0.0007},
}


def worth(reports: Path) -> str:
    """Say what the rule is worth, by the full study of it where its table is among the reports, else by that on MNIST.

    The data set of the study is named: it need not be the one that is searched on.

    reports: folder that holds a folder a study; a quick one's table says too little.
    """
    where, found = f"made in full on MNIST, seed 0 (study {NAME!r})", MEASURED
    with contextlib.suppress(BundleError, KeyError, TypeError, ValueError, AttributeError):
        table = files.read_json(reports / NAME / "table.json")
        rows = {row["rule"]: row for row in table["rows"] if row["normal"] == TOGETHER}
        own = {
            "problems": int(rows[SYNTHETIC]["problems"]),
            "spearman": float(rows[SYNTHETIC]["spearman"]),
            "lost": {rule: float(row["lost"]) for rule, row in rows.items() if rule in MEASURED["lost"]},
        }
        # As "mnist: 60,000 training images"; the name may have a colon too.
        data = shortened(str(table["facts"]["data"]).rpartition(":")[0], LONGEST)
        if not table["quick"] and data:
            where, found = f"on {data}, in {reports / NAME},", own
    others = (
        (ANY, "settings drawn at random"),
        (LOSS, "those of the lowest error of held-out normals"),
        (ALWAYS, "always the default"),
    )
    lost = found["lost"]
    compared = ", ".join(f"{words} {lost[rule]:.4f}" for rule, words in others if rule in lost)
    return (
        f"What the rule is worth: in the study of {plural(found['problems'], 'problem')} {where} its order of settings "
        f"and the true one had a Spearman correlation of {found['spearman']:.2f}, and its choice lost "
        f"{lost[SYNTHETIC]:.4f} of ROC-AUC on average{f' ({compared})' if compared else ''}. Anomalies made of normal "
        "images are not those that will come."
    )
