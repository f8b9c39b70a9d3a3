"""What stands elsewhere in the repository comes into the site: the README, notebooks, reports. Hooks of MkDocs.

A link in a page is written as for a reader of the repository. What it names is brought in, pages as pages and other
files as they are, and the link is turned into one of the site. Formulas become MathML, which browsers draw themselves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# `make site` runs them, so that their pages have figures and numbers.
RUN = bool(os.environ.get("RUN_NOTEBOOKS"))

LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
FENCE = r"^(?P<fence>```+).*?^(?P=fence)$"
MATH = re.compile(
    rf"{FENCE}|`[^`\n]+`|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^\s$](?:[^$\n]*[^\s$])?)\$",
    re.DOTALL | re.MULTILINE,
)
SOURCES: dict[str, Path] = {}


def place(path: Path) -> str:
    """Where a file of the repository stands in the site."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = path.relative_to(ROOT).as_posix()
    return "index.md" if name == "README.md" else re.sub(r"\.ipynb$", ".md", name)


def text_of(path: Path) -> str:
    return notebook(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")


def targets(path: Path, text: str) -> Iterator[Path]:
    """Files of the repository that a page links."""
    for link in LINK.findall(text):
        target = (path.parent / link).resolve()
        if target.is_file():
            yield target


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Bring in what the navigation and pages name, and what those name in turn."""
    named = set(re.findall(r"[\w./-]+\.md", repr(config.nav)))
    outside = [ROOT / "README.md", *sorted(ROOT.glob("examples/*.ipynb"))]
    outside += [
        ROOT / name for name in sorted(named) if not (DOCS / name).exists() and (ROOT / name).exists()
    ]
    waiting = [*outside, *(Path(file.abs_src_path) for file in files.documentation_pages())]
    SOURCES.clear()
    while waiting:
        path = waiting.pop().resolve()
        uri = place(path)
        if uri in SOURCES:
            continue
        SOURCES[uri] = path
        if not uri.endswith(".md"):
            files.append(File.generated(config, uri, abs_src_path=str(path)))
            continue
        text = text_of(path)
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, content=text))
        waiting += [target for target in targets(path, text) if place(target) not in SOURCES]
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links of the repository into links of the site, and formulas into MathML."""
    path = SOURCES[page.file.src_uri]
    here = Path(page.file.src_uri).parent

    def moved(match: re.Match[str]) -> str:
        target = (path.parent / match[1]).resolve()
        return os.path.relpath(place(target), here) if target.is_file() else match[1]

    return MATH.sub(formula, LINK.sub(moved, markdown))


def formula(match: re.Match[str]) -> str:
    """MathML of a formula; code is left as it is."""
    if match["block"]:
        return f'\n<div class="formula">{convert(" ".join(match["block"].split()), display="block")}</div>\n'
    # At the head of a line <math> would count as a block of its own.
    return f"<span>{convert(match['inline'])}</span>" if match["inline"] else match[0]


def notebook(path: Path) -> str:
    """Return a notebook as Markdown; of one that is run, what its cells show stands below them."""
    book = nbformat.read(path, as_version=4)
    if RUN:
        from nbclient import NotebookClient

        NotebookClient(book).execute()
    parts = []
    for cell in book.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source.replace('%matplotlib inline', '').strip()}\n```")
        parts += outputs_of(cell)
    title, _, rest = "\n\n".join(parts).partition("\n")
    name = path.relative_to(ROOT).as_posix()
    return f"{title}\n\n*A notebook: `{name}`, for Jupyter or VS Code.*\n{rest}\n"


def outputs_of(cell: Any) -> Iterator[str]:
    """What a cell shows, as Markdown: figures, and text between them."""
    printed = ""
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            yield from fenced(printed)
            printed = ""
            yield f"![figure](data:image/png;base64,{data['image/png'].replace(chr(10), '')}){{ .output }}"
        else:
            printed += output.get("text") or data.get("text/plain", "")
    yield from fenced(printed)


def fenced(printed: str) -> list[str]:
    return [f"```text\n{printed.rstrip()}\n```"] if printed.strip() else []
