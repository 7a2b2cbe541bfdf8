"""Facts about readers as a table and as a documentation page; no file is read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from imu_video.cli.listing import arguments, summary
from imu_video.errors import ConfigError
from imu_video.registry import Registry, readers

_BEGIN = "<!-- generated: python -m imu_video.cli.reader_page docs/reference/readers.md -->"
_END = "<!-- end -->"


def reader_table(registry: Registry[Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of `imu-video list readers`.

    Example:
        >>> header, rows = reader_table(readers)
        >>> header
        ('name', 'files', 'extra', 'description')
        >>> [row[1] for row in rows if row[0] == "sensor_logger"]
        ['.zip folder .csv .json .sqlite .db']
    """
    rows: list[tuple[str, ...]] = []
    for name in registry.names():
        reader = registry.get(name)
        rows.append((name, _formats(reader), reader.extra or "-", summary(registry, name)))
    return ("name", "files", "extra", "description"), rows


def reader_lines(registry: Registry[Any], name: str) -> list[tuple[str, str]]:
    """Name and value of every fact of one reader, for `imu-video list readers NAME`."""
    reader = registry.get(name)
    return [
        ("name", name),
        ("device or app", reader.title),
        ("files", _formats(reader)),
        ("reads", reader.reads),
        ("gravity", reader.gravity),
        ("clock", reader.clock),
        ("needs", f"pip install 'imu-video[{reader.extra}]'" if reader.extra else "nothing further"),
        ("tested on", reader.tested_on),
        ("format", reader.url or "-"),
        ("options", ", ".join(f"{key}{value}" for key, value in arguments(registry, name).items()) or "none"),
    ]


def reader_page(registry: Registry[Any]) -> str:
    """The table of docs/reference/readers.md as Markdown."""
    lines = [
        "| reader | device or app | files | what is read | gravity | clock | options | tested on |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in registry.names():
        reader = registry.get(name)
        if not reader.__module__.startswith("imu_video."):
            continue
        link = f"[`{name}`]({reader.url})" if reader.url.startswith("http") else f"`{name}`"
        needs = f"; extra `{reader.extra}`" if reader.extra else ""
        options = ", ".join(f"`{key}`" for key in arguments(registry, name)) or "-"
        cells = (link, reader.title, _formats(reader) + needs, reader.reads, reader.gravity, reader.clock, options)
        lines.append(f"| {' | '.join(cells)} | {reader.tested_on} |")
    return "\n".join(lines) + "\n"


def with_reader_page(document: str) -> str:
    """Regenerate the part of the document between the two markers.

    Raises:
        ConfigError: the document has no markers.
    """
    if _BEGIN not in document or _END not in document:
        raise ConfigError(f"the document has no lines {_BEGIN!r} and {_END!r}")
    before, after = document.split(_BEGIN)[0], document.split(_END)[-1]
    return f"{before}{_BEGIN}\n\n{reader_page(readers)}\n{_END}{after}"


def _formats(reader: Any) -> str:
    return " ".join("folder" if ending == "/" else ending for ending in reader.formats)


def main() -> None:
    """Write the generated part of the documents named on the command line."""
    for file in map(Path, sys.argv[1:]):
        file.write_text(with_reader_page(file.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
