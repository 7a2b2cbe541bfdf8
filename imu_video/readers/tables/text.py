"""CSV files as frames of pandas, one row per line of the file; the meaning of the columns is not known here."""

from __future__ import annotations

import codecs
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imu_video.errors import RecordingError, nearest

_IN_MEMORY = 1 << 28  # bytes of a text file that is read at once; larger ones are streamed


def exact_floats() -> dict[str, Any]:
    """The option with which pandas parses every number exactly as Python does; the default since pandas 3."""
    import pandas as pd

    return {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}


def need_columns(path: Path, wanted: Sequence[str], there: Sequence[str]) -> None:
    for column in wanted:
        if column not in there:
            raise RecordingError(
                f"{path}: no column {column!r}{nearest(column, there)}",
                hint=f"its columns are: {', '.join(map(repr, there))}",
            )


def read_text(path: Path, content: bytes | None, wanted: list[str], header: Sequence[str] | None, **how: Any) -> Any:
    import pandas as pd

    if content is None and path.suffix != ".gz" and path.stat().st_size <= _IN_MEMORY:
        content = path.read_bytes()

    skipped = 0

    def source() -> Any:
        if content is None:
            return path
        file = io.BytesIO(content)  # shares the bytes with the caller, without a copy
        file.seek(skipped)
        return file

    common: dict[str, Any] = {
        **how,
        "skipinitialspace": True,
        "skip_blank_lines": False,  # keeps blank lines as rows, so that the row number gives the line
        "encoding": "utf-8-sig",
        "low_memory": False,
        "index_col": False,
        **exact_floats(),
    }
    try:
        if header is None:
            line = pd.read_csv(source(), nrows=1, header=None, dtype=str, keep_default_na=False, **common)
            names = [str(name).strip() for name in line.iloc[0]]
            common["skiprows"] += 1
        else:
            names = list(header)
        need_columns(path, wanted, names)
        full = False
        try:
            first = pd.read_csv(source(), nrows=1, header=None, **common)
            full = _all_numbers(first) and not first.isna().any(axis=None)
            width = first.dropna(axis=1).shape[1]
        except pd.errors.EmptyDataError:  # a header without rows; the error "no rows" comes later
            width = 0
        if width > len(names):
            raise RecordingError(
                f"{path}: its first row has {width} fields for {len(names)} columns",
                hint="declare the delimiter; numbers must be written with a decimal point",
            )
        if content is not None:
            skipped = _skip(content, common)
        common |= {"header": None, "names": names, "usecols": wanted}
        # parsing without the search for empty fields is faster; if there are any, a column is not numeric and is parsed
        # again
        if full:
            frame = pd.read_csv(source(), na_filter=False, **common)
            if _all_numbers(frame):
                return frame
        frame = pd.read_csv(source(), **common)
    except (
        ValueError,
        EOFError,
        zlib.error,
        OSError,
    ) as error:  # ValueError covers the errors of pandas, the others damaged .gz files
        raise RecordingError(f"{path}: not a readable table: {str(error).strip()}") from error
    return frame


def _all_numbers(frame: Any) -> bool:
    return all(kind.kind in "iuf" for kind in frame.dtypes)


def _skip(content: bytes, common: dict[str, Any]) -> int:
    """Bytes of the lines to skip; options that are not needed are removed from ``common``.

    Skipping lines, searching for spaces and decoding a byte order mark take pandas a third of its time.
    """
    file = io.BytesIO(content)
    skipped = b"".join(file.readline() for _ in range(common["skiprows"]))
    if b'"' in skipped or b"\r" in skipped.replace(b"\r\n", b""):
        return 0  # line ends that differ from "\n" are left to pandas
    common["skiprows"] = 0
    if skipped or not content.startswith(codecs.BOM_UTF8):
        common["encoding"] = "utf-8"
    if b" " not in content and b"\t" not in content:
        common["skipinitialspace"] = False
    return len(skipped)
