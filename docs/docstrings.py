"""Reads the sections of our docstrings as mkdocstrings expects them; changes no text of the code."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
RANGE = re.compile(r"^(\s+[\w, ]+: )>", re.MULTILINE)  # `width: > 0` is a range, not a quotation


class Sections(griffe.Extension):
    """Renders `Example:` as a section of code; griffe knows the plural only and would show prompts as prose."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = RANGE.sub(r"\1\\>", EXAMPLE.sub("Examples:", obj.docstring.value))
