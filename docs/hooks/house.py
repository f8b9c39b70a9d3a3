"""Docstrings as the site shows them: arguments as a list, examples as code. An extension of Griffe."""

from __future__ import annotations

import re
from typing import Any

import griffe

from anomalae.settings import describe_settings

# A line of one or several arguments, and the lines that go on with it.
ARGUMENT = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*): +(\S.*)$")
# Those that take all settings, whose lines are made when they are imported.
TAKE_SETTINGS = {"anomalae.settings.Settings", "anomalae.detectors.detector.Detector"}


def is_argument(names: str) -> bool:
    """Whether a line that begins so tells of arguments; a word like Reference does not."""
    return all(name == name.lower() or len(name) == 1 for name in names.replace("*", "").split(", "))


def markdown(text: str) -> str:
    """Return a docstring of ours as Markdown."""
    lines: list[str] = []
    in_list = in_example = False
    for line in text.splitlines():
        if in_example:
            in_example = bool(line.strip())
            lines += [line] if in_example else ["```", line]
            continue
        argument = ARGUMENT.match(line)
        if line.startswith(">>> "):
            in_example = True
            lines += ["```pycon", line]
        elif argument and is_argument(argument[1]):
            names = ", ".join(f"**`{name}`**" for name in argument[1].split(", "))
            lines += ([] if in_list or not lines or not lines[-1] else [""]) + [f"- {names}: {argument[2]}"]
            in_list = True
        else:
            in_list = in_list and line.startswith(" ")
            lines.append(line)
    return "\n".join([*lines, "```"] if in_example else lines)


class House(griffe.Extension):
    """Rewrites every docstring by `markdown`."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is None:
            return
        text = obj.docstring.value
        if obj.path in TAKE_SETTINGS:
            head, marker, example = text.partition("\n>>> ")
            text = f"{head.rstrip()}\n\nSettings:\n\n{describe_settings()}\n{marker}{example}"
        obj.docstring.value = markdown(text)
