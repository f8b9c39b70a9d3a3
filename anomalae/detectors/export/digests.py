"""By which bytes an exported model is known to be as it was exported, read without ONNX's packages.

A file of ONNX is a message of protocol buffers. All of it but its metadata, and then what the metadata hold, is hashed.
This finds what was changed by accident; whoever changes a file on purpose can change its digest.

Reference: Protocol Buffers, "Encoding", https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from anomalae.detectors.export.names import DIGEST

# Numbers of fields: the metadata of a model, and key and value of one of them.
_METADATA, _KEY, _VALUE = 14, 1, 2
# Kinds of fields, by how their length is told: a number of its own length, 8 bytes, a length before them, 4 bytes.
_NUMBER, _EIGHT, _LONG, _FOUR = 0, 1, 2, 5


def digests(content: bytes) -> tuple[str, str | None]:
    """Return the SHA-256 of a model, in hexadecimal digits, and the one that it keeps itself.

    content: of its file.

    Returns the two, which are equal for a file that is as it was exported; the second is None for one that keeps none.
    Raises ValueError for what is no message of protocol buffers.

    >>> digests(b"")[1] is None
    True
    """
    hashed, entries = hashlib.sha256(), []
    for number, field, value in _fields(memoryview(content)):
        if number == _METADATA:
            entry = {inner: bytes(text) for inner, _, text in _fields(value)}
            entries.append((entry.get(_KEY, b""), entry.get(_VALUE, b"")))
        else:
            hashed.update(field)
    kept = None
    for key, text in sorted(entries):
        if key == DIGEST.encode():
            kept = text.decode(errors="replace")
        else:
            for part in (key, text):
                hashed.update(len(part).to_bytes(8, "little") + part)
    return hashed.hexdigest(), kept


def _fields(content: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Walk the fields of a message: number, all bytes, and those of the value."""
    end = 0
    while end < len(content):
        start = end
        tag, end = _number(content, end)
        value = end
        if tag & 7 == _NUMBER:
            _, end = _number(content, end)
        elif tag & 7 == _LONG:
            size, value = _number(content, end)
            end = value + size
        elif tag & 7 in (_EIGHT, _FOUR):
            end += 8 if tag & 7 == _EIGHT else 4
        else:
            raise ValueError(f"a field of kind {tag & 7}")
        if end > len(content):
            raise ValueError("a field that is longer than the message")
        yield tag >> 3, content[start:end], content[value:end]


def _number(content: memoryview, start: int) -> tuple[int, int]:
    """Return the number that begins there, 7 bits a byte, and where it ends."""
    found = 0
    for place, byte in enumerate(content[start : start + 10]):
        found |= (byte & 127) << 7 * place
        if byte < 128:
            return found, start + place + 1
    raise ValueError("a number without an end")
