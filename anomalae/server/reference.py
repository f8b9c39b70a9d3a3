"""A page of HTML that says what the server can be asked, made of its description (OpenAPI)."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

# How a body of each content type is sent.
_SENT = {
    "multipart/form-data": "-F files=@scan.png",
    "application/octet-stream": "-X POST -T digits.npy -H 'Content-Type: application/octet-stream'",
    "image/*": "-X POST -T scan.png -H 'Content-Type: image/png'",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>anomalae: what can be asked</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="page.css">
<link rel="stylesheet" href="reference.css">
</head>
<body>
<header>
<p class="brand">anomalae {version}</p>
<h1>What can be asked</h1>
<p class="note">{description} For programs: <a href="openapi.json">openapi.json</a>.
<a href="/">Draw a digit</a> instead.</p>
</header>
<main>
<ul>
{contents}
</ul>
{operations}
</main>
</body>
</html>
"""


def page(described: Mapping[str, Any], place: str) -> str:
    """Return the page.

    described: the description, as OpenAPI has it.
    place: where the server is asked, as in `http://127.0.0.1:8000`.
    """
    operations = [
        (f"{method.upper()} {path}", path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    return _PAGE.format(
        version=_text(described["info"]["version"]),
        description=_text(described["info"]["description"]),
        contents="\n".join(
            f'<li><a href="#{_anchor(name)}"><code>{_text(name)}</code></a> {_text(operation["summary"])}</li>'
            for name, _, operation in operations
        ),
        operations="\n".join(
            _operation(name, place + path, operation, described) for name, path, operation in operations
        ),
    )


def _operation(name: str, url: str, operation: Mapping[str, Any], described: Mapping[str, Any]) -> str:
    parameters = [
        (
            f"<code>{_text(one['name'])}</code>",
            _text(_kind(one["schema"])),
            _words(one.get("description", "")),
        )
        for one in operation.get("parameters", [])
    ]
    answers = [
        (_text(status), _text(", ".join(one.get("content", {}))), _words(one["description"]))
        for status, one in sorted(operation["responses"].items())
    ]
    curls = [f"curl {sent}{url}" for sent in _bodies(operation, described)]
    return "\n".join(
        [
            f'<section aria-labelledby="{_anchor(name)}">',
            f'<h2 id="{_anchor(name)}"><code>{_text(name)}</code> {_text(operation["summary"])}</h2>',
            *(f"<p>{_words(part)}</p>" for part in operation.get("description", "").split("\n\n") if part),
            f'<pre tabindex="0">{_text(chr(10).join(curls))}</pre>',
            _table(("parameter", "values", "what it says"), parameters),
            _table(("answer", "content", "when"), answers),
            "</section>",
        ]
    )


def _bodies(operation: Mapping[str, Any], described: Mapping[str, Any]) -> list[str]:
    """Return what curl is told of the body, for each content type that is taken."""
    bodies = operation.get("requestBody", {}).get("content", {})
    return [f"{_sent(media, body, described)} " for media, body in bodies.items()] or [""]


def _sent(media: str, body: Mapping[str, Any], described: Mapping[str, Any]) -> str:
    if media in _SENT:
        return _SENT[media]
    example = body.get("example")
    if example is None:
        schema = body["schema"]
        schema = (
            described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            if "$ref" in schema
            else schema
        )
        example = {name: one.get("examples", ["..."])[0] for name, one in schema["properties"].items()}
    return f"-H 'Content-Type: {media}' -d '{json.dumps(example)}'"


def _kind(schema: Mapping[str, Any]) -> str:
    """Return what a value may be, in a few words."""
    if "enum" in schema:
        return ", ".join(filter(None, schema["enum"])) or "none here"
    for one in schema.get("anyOf", [schema]):
        if one.get("type") != "null":
            low, high = one.get("exclusiveMinimum"), one.get("exclusiveMaximum")
            return f"{one['type']} between {low:g} and {high:g}" if low is not None else str(one["type"])
    return ""


def _table(heads: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table of cells of HTML; nothing where it has no rows."""
    lines = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    if not lines:
        return ""
    head = "".join(f'<th scope="col">{_text(word)}</th>' for word in heads)
    return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>\n<tbody>{lines}</tbody></table></div>'


def _anchor(name: str) -> str:
    return re.sub(r"\W+", "-", name.lower()).strip("-")


def _text(text: str) -> str:
    return html.escape(text)


def _words(text: str) -> str:
    """Return a text with `code` in it as HTML."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _text(text))
