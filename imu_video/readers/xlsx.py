"""Numbers and texts of the sheets of an XLSX workbook; no formulas, styles or dates, and nothing is executed.

ECMA-376, part 1: a workbook is a ZIP archive; `xl/workbook.xml` names the sheets, `xl/worksheets/*.xml` holds the
cells, `xl/sharedStrings.xml` their texts.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import PurePosixPath

from imu_video.errors import RecordingError
from imu_video.readers.members import Members

_LARGEST_COLUMN = 16_384  # of the format


def sheets_of(members: Members) -> dict[str, bytes]:
    """Sheets by name, each as tab-separated text.

    Args:
        members: the archive.

    Raises:
        RecordingError: not a workbook, a damaged part, or a document type declaration (entities are not expanded).
    """
    where = str(members.path)
    if "xl/workbook.xml" not in members.names:
        raise RecordingError(f"{where}: not an XLSX workbook, it contains no xl/workbook.xml")
    links = {
        node.get("Id", ""): node.get("Target", "")
        for node in _parse(members, "xl/_rels/workbook.xml.rels").iter()
        if _tag(node) == "Relationship"
    }
    texts = _texts(members)
    sheets = {}
    for node in _parse(members, "xl/workbook.xml").iter():
        if _tag(node) == "sheet":
            link = next((value for key, value in node.attrib.items() if key.endswith("}id")), "")
            target = links.get(link, "").lstrip("/")
            part = target if target.startswith("xl/") else f"xl/{target}"
            if part not in members.names:
                raise RecordingError(
                    f"{where}: sheet {node.get('name')!r} is listed, but {part} is missing",
                    hint="export the recording again",
                )
            sheets[node.get("name", PurePosixPath(part).stem)] = _table(members, part, texts)
    if not sheets:
        raise RecordingError(f"{where}: no sheet in it", hint="export the recording again, as CSV if the app offers it")
    return sheets


def _parse(members: Members, part: str) -> ET.Element:
    if part not in members.names:
        raise RecordingError(f"{members.path}: not an XLSX workbook, it contains no {part}")
    content = members.read(part)
    # A workbook has no document type: refusing one keeps entities, and what they expand to, out.
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise RecordingError(f"{members.where(part)}: has a document type declaration, expected none in a workbook")
    try:
        return ET.fromstring(content)  # noqa: S314
    except (ET.ParseError, ValueError, LookupError) as error:
        raise RecordingError(f"{members.where(part)}: damaged: {error}", hint="export the recording again") from error


def _tag(node: ET.Element) -> str:
    return node.tag.rpartition("}")[2]


def _texts(members: Members) -> list[str]:
    if "xl/sharedStrings.xml" not in members.names:
        return []
    return [
        "".join(n.text or "" for n in item.iter() if _tag(n) == "t") for item in _parse(members, "xl/sharedStrings.xml")
    ]


def _table(members: Members, part: str, texts: list[str]) -> bytes:
    lines = []
    for row in _parse(members, part).iter():
        if _tag(row) != "row":
            continue
        cells: dict[int, str] = {}
        for cell in row:
            if _tag(cell) == "c":
                cells[_column(cell.get("r", ""), len(cells))] = _value(cell, texts, members.where(part))
        lines.append("\t".join(cells.get(i, "") for i in range(max(cells, default=-1) + 1)))
    width = max((line.count("\t") for line in lines), default=0)
    return "\n".join(line + "\t" * (width - line.count("\t")) for line in lines).encode()


def _column(reference: str, position: int) -> int:
    """Number of a cell's column from 0: ``B7`` is 1; cells without a reference are counted."""
    letters = re.match(r"[A-Z]{1,3}", reference)
    if letters is None:
        return position
    number = 0
    for letter in letters[0]:
        number = number * 26 + ord(letter) - 64
    return min(number, _LARGEST_COLUMN) - 1


def _value(cell: ET.Element, texts: list[str], where: str) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        text = "".join(node.text or "" for node in cell.iter() if _tag(node) == "t")
    else:
        text = next((node.text or "" for node in cell if _tag(node) == "v"), "")
        if kind == "s":
            if not text.isdecimal() or int(text) >= len(texts):
                raise RecordingError(f"{where}: cell {cell.get('r')} refers to text {text!r} of {len(texts)}")
            text = texts[int(text)]
    return re.sub(r"[\t\r\n]+", " ", text)
