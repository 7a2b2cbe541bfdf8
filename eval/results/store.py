"""Result files: appends lines and reads them; the fields of a line are defined in lines.py."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from eval.results.lines import Result, is_registered
from imu_video.errors import DataError
from imu_video.runtime import documents


def append_results(path: Path, results: Iterable[Result]) -> int:
    """Append lines in one write and sync them; a truncated last line does not corrupt the first new one.

    Returns:
        Number of lines written.
    """
    lines = [json.dumps(r.model_dump(mode="json"), allow_nan=False) for r in results]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+", buffering=0) as file:  # unbuffered: one write, so that lines of two processes do not mix
        broken = False
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            broken = file.read(1) != b"\n"
        data = (("\n" if broken else "") + "".join(line + "\n" for line in lines)).encode()
        while data:
            data = data[file.write(data) :]
        os.fsync(file.fileno())
    return len(lines)


def read_results(paths: Sequence[Path]) -> tuple[list[Result], int]:
    """All measurements of some files, the latest of each; and the number of earlier ones that they replace.

    Raises:
        DataError: a missing file, a line that is not a result, or a result of an unknown protocol.
    """
    latest: dict[tuple[Any, ...], Result] = {}
    total = 0
    for path in paths:
        text = documents.read_text(path, hint="`imu-eval fewshot` writes results", limit=LARGEST_FILE)
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            result = _parse(line, f"{path}, line {number}")
            if result.cells is not None:
                result = result.model_copy(update={"cells": str(path.parent / result.cells)})
            total += 1
            latest.pop(result.identity, None)
            latest[result.identity] = result
    if not latest:
        raise DataError(f"no results in {', '.join(map(str, paths))}", hint="`imu-eval fewshot` writes result files")
    return list(latest.values()), total - len(latest)


def _parse(line: str, where: str) -> Result:
    named = f"{where}: not a result"
    content = documents.parse_json(line, named, hint=_DELETE)
    kind = content.get("kind") if isinstance(content, dict) else None
    if isinstance(kind, str) and not is_registered(kind):
        return documents.validate(Result, content, where, hint="load the protocol with --plugin FILE.py")
    return documents.validate(Result, content, named, hint=_DELETE)


_DELETE = "delete that line"
LARGEST_FILE = 2**30
"""Largest result file or log that is read, in bytes."""
