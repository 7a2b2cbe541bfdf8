"""JSON and YAML of files: bounded reading, refusal of what no writer of ours produces, validation; no file formats.

Every document is untrusted: sizes, depth, aliases and numbers are bounded before anything else handles the content. A
fault is one error that names the file, and the key or line where there is one.
"""

from __future__ import annotations

import gc
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from typing import Any, TypeVar, get_args, overload

from pydantic import BaseModel, TypeAdapter, ValidationError

from imu_video.errors import DataError, ImuVideoError, nearest, report
from imu_video.runtime.content import TOO_DEEP, Unacceptable, check_content, shorten, shown
from imu_video.runtime.faults import placed
from imu_video.runtime.yaml_nodes import construct

JSON_LIMIT = 64 * 2**20
"""Largest JSON document in bytes, where the caller names no other limit."""
YAML_LIMIT = 2 * 2**20
"""Largest YAML document in bytes; a number of keys and values is the other limit (`yaml_nodes.EXPANDED_LIMIT`)."""
_SMALL = 2**20

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
StrPath = str | os.PathLike[str]


def read_bytes(
    path: StrPath, *, error: type[ImuVideoError] = DataError, hint: str | None = None, limit: int = JSON_LIMIT
) -> bytes:
    """The content of a regular file of at most ``limit`` bytes; a pipe, a device or an endless file is not read.

    Args:
        path: the file.
        error: class of the error.
        hint: next step for the error.
        limit: largest size in bytes.

    Raises:
        ImuVideoError: of class ``error``: no such file, not a regular file, not readable, or larger than ``limit``.
    """
    try:
        # Opening a pipe without O_NONBLOCK waits for its writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                kind = "a folder" if stat.S_ISDIR(facts.st_mode) else "a device or a pipe"
                raise error(f"{path}: {kind}, expected a file", hint=hint)
            with open(descriptor, "rb", closefd=False) as file:
                # `read` allocates its argument at once: the size of the file, not the limit.
                content = b"" if facts.st_size > limit else file.read(facts.st_size + 1)
                more = content if len(content) > facts.st_size else b""
                while more and len(content) <= limit:  # it grows while it is read
                    more = file.read(min(1 << 20, limit + 1 - len(content)))
                    content += more
        finally:
            os.close(descriptor)
        size = max(facts.st_size, len(content))
    except OSError as cause:
        raise error(f"{path}: {cause.strerror or cause}", hint=hint) from cause
    except ValueError as cause:  # a NUL character in the path
        raise error(f"{str(path)!r}: {cause}", hint=hint) from cause
    if size > limit:
        raise error(f"{path}: {_size(size)}, expected at most {_size(limit)}", hint=hint)
    return content


def read_text(
    path: StrPath, *, error: type[ImuVideoError] = DataError, hint: str | None = None, limit: int = JSON_LIMIT
) -> str:
    """The content of a UTF-8 file, bounded as by `read_bytes`; a byte order mark is removed.

    Raises:
        ImuVideoError: of class ``error``: as `read_bytes`, or another encoding.
    """
    return decoded(read_bytes(path, error=error, hint=hint, limit=limit), str(path), error=error, hint=hint)


def decoded(data: bytes, where: str, *, error: type[ImuVideoError] = DataError, hint: str | None = None) -> str:
    """UTF-8 bytes as text without a byte order mark.

    Args:
        data: the bytes.
        where: file or member, for the error.
        error: class of the error.
        hint: next step for the error; by default, how to convert the file.

    Raises:
        ImuVideoError: of class ``error``: another encoding.

    Example:
        >>> decoded(b"\\xef\\xbb\\xbfname: x", "x.yaml")
        'name: x'
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        at = f"byte 0x{data[cause.start]:02x} at position {cause.start}"
        wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        name = "UTF-16" if wide else "ISO-8859-1"
        advice = hint or f"save it as UTF-8, for example: iconv -f {name} -t UTF-8 OLD > NEW"
        raise error(f"{where} is not a UTF-8 text file: {'it is UTF-16' if wide else at}", hint=advice) from cause


def read_json(
    path: StrPath,
    *,
    error: type[ImuVideoError] = DataError,
    hint: str | None = None,
    limit: int = JSON_LIMIT,
    finite: bool = True,
) -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        error: class of the error.
        hint: next step for the error.
        limit: largest size in bytes.
        finite: whether NaN and infinite numbers are refused; False only for files of other programs.

    Raises:
        ImuVideoError: of class ``error``: as `read_bytes` and `parse_json`.
    """
    return parse_json(
        read_bytes(path, error=error, hint=hint, limit=limit),
        str(path),
        error=error,
        hint=hint,
        limit=limit,
        finite=finite,
    )


def parse_json(
    data: bytes | str,
    where: str,
    *,
    error: type[ImuVideoError] = DataError,
    hint: str | None = None,
    limit: int = JSON_LIMIT,
    finite: bool = True,
) -> Any:
    """The content of a JSON document.

    Args:
        data: UTF-8 bytes or text.
        where: file or member, for the error.
        error: class of the error.
        hint: next step for the error.
        limit: largest size in bytes (of a text: characters).
        finite: whether NaN and infinite numbers are refused; False only for files of other programs.

    Raises:
        ImuVideoError: of class ``error``: not JSON; larger than ``limit``; lists and objects more than 64 levels
            deep; a key twice in one object; NaN, infinite or integers beyond 64 bits; half of a surrogate
            pair or a NUL character in a text.

    Example:
        >>> parse_json(b'{"rate": 50}', "index.json")
        {'rate': 50}
        >>> parse_json('{"rate": 50, "rate": 51}', "index.json")
        Traceback (most recent call last):
        ...
        imu_video.errors.DataError: index.json: not readable as JSON: the key 'rate' is given twice
    """
    if len(data) > limit:
        raise error(f"{where}: {_size(len(data))}, expected at most {_size(limit)}", hint=hint)
    text = decoded(data, where, error=error, hint=hint) if isinstance(data, bytes) else data.removeprefix("\ufeff")
    try:
        with _without_collection(len(text)):
            content = (_DECODER if finite else _LENIENT).decode(text)
            # Only an escape can put these characters into a JSON text that was UTF-8.
            check_content(content, texts="\\u" in text, finite=finite)
    except Unacceptable as cause:
        raise error(f"{where}: {cause}", hint=hint) from None
    except json.JSONDecodeError as cause:
        at = f"line {cause.lineno}, column {cause.colno}"
        raise error(f"{where}: not readable as JSON: {cause.msg}: {at}", hint=hint) from cause
    except RecursionError:
        raise error(f"{where}: {TOO_DEEP}", hint=hint) from None
    except ValueError as cause:  # a key that is given twice, NaN, an integer of thousands of digits
        raise error(f"{where}: not readable as JSON: {cause}", hint=hint) from cause
    return content


def read_yaml(
    path: StrPath, *, error: type[ImuVideoError] = DataError, hint: str | None = None, limit: int = YAML_LIMIT
) -> Any:
    """The content of a YAML file.

    Args:
        path: the file.
        error: class of the error.
        hint: next step for the error.
        limit: largest size in bytes.

    Raises:
        ImuVideoError: of class ``error``: as `read_bytes` and `parse_yaml`.
    """
    return parse_yaml(
        read_text(path, error=error, hint=hint, limit=limit), str(path), error=error, hint=hint, limit=limit
    )


def parse_yaml(
    text: str,
    where: str,
    *,
    error: type[ImuVideoError] = DataError,
    hint: str | None = None,
    limit: int = YAML_LIMIT,
) -> Any:
    """The content of a YAML document; merge keys (``<<``) are applied.

    Args:
        text: the document.
        where: file or option, for the error.
        error: class of the error.
        hint: next step for the error.
        limit: largest size in characters.

    Raises:
        ImuVideoError: of class ``error``: not YAML; larger than ``limit``; more than 64 levels deep; several
            documents; tags; a key twice in one mapping; too many aliases or aliases that expand to too much; an alias
            inside its own anchor; numbers and characters that `parse_json` refuses.

    Example:
        >>> parse_yaml("rate: 50\\nlabels: [walk, run]", "x.yaml")
        {'rate': 50, 'labels': ['walk', 'run']}
    """
    if len(text) > limit:
        raise error(f"{where}: {_size(len(text))}, expected at most {_size(limit)}", hint=hint)
    try:
        content = construct(text)
        check_content(content)
    except Unacceptable as cause:
        at = f", line {cause.line}" if cause.line else ""
        raise error(f"{where}{at}: {cause}", hint=hint or cause.hint) from cause
    return content


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shown(twice)} is given twice")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)
_LENIENT = json.JSONDecoder(object_pairs_hook=_pairs)


@contextmanager
def _without_collection(size: int) -> Iterator[None]:
    """Pause the cyclic garbage collector: it visits all objects of a large document again and again (double time)."""
    pause = size > _SMALL and gc.isenabled()
    if pause:
        gc.disable()
    try:
        yield
    finally:
        if pause:
            gc.enable()


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count} bytes"


# ------------------------------------------------------------------------------------------------------- models


def read_model(
    path: StrPath,
    model: type[M],
    *,
    error: type[ImuVideoError] = DataError,
    hint: str | None = None,
    limit: int | None = None,
) -> M:
    """The content of a file (YAML by its suffix, else JSON) as a pydantic model.

    Args:
        path: the file.
        model: the model.
        error: class of the error.
        hint: next step for the error.
        limit: largest size in bytes; by default `YAML_LIMIT` or `JSON_LIMIT`.

    Raises:
        ImuVideoError: of class ``error``: as `read_json`, `read_yaml` and `validate`.
    """
    if str(path).endswith((".yaml", ".yml")):
        content = read_yaml(path, error=error, hint=hint, limit=limit or YAML_LIMIT)
    else:
        content = read_json(path, error=error, hint=hint, limit=limit or JSON_LIMIT)
    return validate(model, content, str(path), error=error, hint=hint)


@overload
def validate(
    model: type[M], content: Any, where: str, *, error: type[ImuVideoError] = ..., hint: str | None = ...
) -> M: ...


@overload
def validate(
    model: TypeAdapter[T], content: Any, where: str, *, error: type[ImuVideoError] = ..., hint: str | None = ...
) -> T: ...


def validate(
    model: type[BaseModel] | TypeAdapter[Any],
    content: Any,
    where: str,
    *,
    error: type[ImuVideoError] = DataError,
    hint: str | None = None,
) -> Any:
    """Content of a document as a pydantic model.

    Args:
        model: the model, or a TypeAdapter.
        content: the parsed document.
        where: file or option, for the error.
        error: class of the error.
        hint: next step for the error; by default one that fits the fault.

    Raises:
        ImuVideoError: of class ``error``: the first fault, with its dotted key, the value seen and what was expected.
            Further faults are given to `report`.

    Example:
        >>> from pydantic import Field
        >>> class Rate(BaseModel):
        ...     rate_hz: float = Field(gt=0)
        >>> validate(Rate, {"rate_hz": -1}, "index.json")
        Traceback (most recent call last):
        ...
        imu_video.errors.DataError: index.json: key 'rate_hz': Input should be greater than 0 (got -1)
    """
    try:
        return model.validate_python(content) if isinstance(model, TypeAdapter) else model.model_validate(content)
    except ValidationError as cause:
        # A misspelt key is both unknown and missing; the unknown spelling is the useful half of that.
        faults = sorted(placed(cause.errors(include_url=False), content), key=lambda e: e["type"] != "extra_forbidden")
        first, *others = (_error(fault, model, where, error, hint) for fault in faults[:_LISTED])
        if others:
            with suppress(error):
                report(first, *others)
        raise first from cause
    except (RecursionError, OverflowError) as cause:
        raise error(f"{where}: the content cannot be read: {cause}", hint=hint) from cause


_LISTED = 100
"""Most faults of one document that are reported together."""


def _error(fault: Any, model: Any, where: str, error: type[ImuVideoError], hint: str | None) -> ImuVideoError:
    """One fault that pydantic found, in words."""
    loc = tuple(str(p) for p in fault["loc"])
    key, value = ".".join(loc), fault.get("input")
    own = None
    at = f"key {shorten(key)!r}: " if key else ""
    # A check of several keys receives the whole section; printing it would obscure the message.
    got = "" if fault["type"] == "value_error" and isinstance(value, Mapping) else f" (got {shown(value)})"
    message = f"{at}{shorten(fault['msg'].removeprefix('Value error, '), 2000)}{got}"
    match fault["type"]:
        case "extra_forbidden":
            message = f"unknown key {shorten(key)!r}{nearest(shorten(loc[-1]), _fields_at(model, loc[:-1]))}"
            own = _in_section(model, loc)
        case "missing":
            message = f"key {key!r} is missing"
        case "model_type" | "model_attributes_type" | "dict_type":
            message = f"{at}expected a mapping of keys{got}"
        case "tuple_type" | "list_type" if isinstance(value, str | Mapping):
            message = f"{at}expected a list{got}"
            own = f"write a list, also for one entry: '{key}=[...]'"
        case "string_type" if value is None or isinstance(value, int | float | date):
            # YAML has its own idea of null, on, no, 01 and 2024-05-06; as a name they need quotation marks
            own = "put texts that YAML reads as another type in quotation marks: '01', 'null', 'on', '2024-05-06'"
    return error(f"{where}: {message}", hint=own if hint is None else hint)


def _in_section(model: Any, loc: tuple[str, ...]) -> str | None:
    """Hint for a key of a section that was written without its section: ``lr`` for ``optim.lr``."""
    if len(loc) != 1:
        return None
    fields: Iterable[str] = getattr(model, "model_fields", {})
    sections = [name for name in fields if name not in loc and loc[0] in _fields_at(model, (name,))]
    return f"write the section too: {' or '.join(f'{name}.{loc[0]}' for name in sections)}" if sections else None


def _fields_at(model: Any, loc: Iterable[str]) -> list[str]:
    current = model
    for part in loc:
        field = getattr(current, "model_fields", {}).get(part)
        if field is None:
            continue  # list index or union branch
        current = next(
            (o for o in _types_in(field.annotation) if isinstance(o, type) and issubclass(o, BaseModel)), None
        )
    return list(getattr(current, "model_fields", {}))


def _types_in(annotation: Any) -> list[Any]:
    """An annotation and everything inside it: ``tuple[X, ...] | None`` has X in it."""
    return [annotation, *(inner for part in get_args(annotation) for inner in _types_in(part))]
