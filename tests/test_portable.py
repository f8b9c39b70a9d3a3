"""Every module can be imported where the modules of POSIX are missing, as on Windows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
HIDDEN = ("fcntl", "resource")


def test_every_module_is_imported_without_those_of_posix():
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "anomalae").rglob("*.py")
        if path.name != "__main__.py"
    )
    assert {"anomalae.detectors.detector", "anomalae.cli", "anomalae.runs.folder"} <= set(modules)
    # Other packages look for what is hidden and do without it; ours may not even ask.
    code = (
        "import importlib, sys\n"
        f"for name in {HIDDEN!r}: sys.modules[name] = None\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_package_lists_what_it_has_beside_its_front_door():
    import anomalae
    import anomalae.text

    assert {"Detector", "load_dataset", "__version__", "text"} <= set(dir(anomalae))
