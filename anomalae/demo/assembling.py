"""The page of a demo, put together: its parts are in it, or are files beside it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from anomalae.version import __version__

# These words mark a page as ours.
GENERATOR = "anomalae demo"
PAGE, STYLE, SCRIPT = "index.html", "page.css", "demo.js"
# onnxruntime-web's code for the browser, and the licences of what is in a demo.
RUNTIME, LICENCES = "ort.wasm.gz", "licences.txt"
MODEL, DECODER = "model.onnx", "decoder.onnx"
_GZIPPED = b"\x1f\x8b"
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:"


def shared(name: str) -> bytes:
    """Return a part that every demo has: of the page, or of what was built for it."""
    folder = "page" if name in (PAGE, STYLE) else "demo/built"
    return resources.files("anomalae").joinpath(f"{folder}/{name}").read_bytes()


def whole_page(facts: Mapping[str, Any], parts: Mapping[str, bytes]) -> bytes:
    """Return a page that needs nothing else.

    facts: what the script is told, JSON-able.
    parts: what the script asks for, by name.
    """
    style, script = shared(STYLE).decode(), shared(SCRIPT).decode()
    policy = f"{_POLICY}; script-src {_digest(script)} 'wasm-unsafe-eval'; style-src {_digest(style)}"
    inside = "".join(
        f'<script type="text/plain" id="part-{name}">{_packed(content)}</script>\n'
        for name, content in parts.items()
    )
    return _page(facts, policy, f"<style>{style}</style>", f"{inside}<script>{script}</script>")


def thin_page(facts: Mapping[str, Any]) -> bytes:
    """Return a page beside which its parts lie. facts: as for `whole_page`."""
    policy = f"{_POLICY}; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'"
    style = f'<link rel="stylesheet" href="{STYLE}">'
    return _page(facts, policy, style, f'<script src="{SCRIPT}"></script>')


def _page(facts: Mapping[str, Any], policy: str, style: str, script: str) -> bytes:
    page = shared(PAGE).decode()
    told = json.dumps(facts).replace("<", "\\u003c")
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">\n'
        f'<meta name="generator" content="{GENERATOR} {__version__}">\n{style}\n'
    )
    served = '<link rel="stylesheet" href="page.css">\n<script type="module" src="server.js"></script>\n'
    end = f'<script type="application/json" id="facts">{told}</script>\n{script}\n</body>'
    for old, new in ((served, head), ("</body>", end)):
        before, found, after = page.partition(old)
        assert found, old
        page = before + new + after
    return page.encode()


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _packed(content: bytes) -> str:
    packed = content if content.startswith(_GZIPPED) else gzip.compress(content, mtime=0)
    return base64.b64encode(packed).decode()
