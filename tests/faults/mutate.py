"""Damage to bytes, documents and arrays, the same for the same seed; what reads the damaged input is tested elsewhere.

`damaged_bytes` is independent of the content. `damaged_json` changes the structure and the types of a document, or its
text: what `json.dumps` can never write. `damaged_npy` changes the values of an array and keeps its file well-formed.
Every function takes a seed (or a generator) and returns the name of the way with the result.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np

Seed = int | np.random.Generator
DEEP = 3000
"""Levels of nesting: more than Python's parser, a recursive validator or a copy survives unguarded."""


def generator(seed: Seed) -> np.random.Generator:
    """The generator of a seed."""
    return seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)


# ------------------------------------------------------------------------------------------------------------ bytes


def _truncate(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: rng.integers(0, max(1, len(data)))]


def _flip(rng: np.random.Generator, data: bytes) -> bytes:
    array = np.frombuffer(data, np.uint8).copy()
    where = rng.integers(0, len(array), rng.choice([1, 1, 2, 20]))
    array[where] ^= (1 << rng.integers(0, 8, len(where))).astype(np.uint8)
    return array.tobytes()


def _overwrite(rng: np.random.Generator, data: bytes) -> bytes:
    start, length = int(rng.integers(0, len(data))), int(rng.integers(1, max(2, min(2000, len(data)))))
    new = rng.bytes(length) if rng.random() < 0.5 else bytes(length)
    return (data[:start] + new + data[start + length :])[: len(data)]


def _insert(rng: np.random.Generator, data: bytes) -> bytes:
    start = int(rng.integers(0, len(data)))
    return data[:start] + rng.bytes(int(rng.choice([1, 7, 512]))) + data[start:]


def _remove(rng: np.random.Generator, data: bytes) -> bytes:
    start = int(rng.integers(0, len(data)))
    return data[:start] + data[start + int(rng.choice([1, 7, 512])) :]


def _swap_blocks(rng: np.random.Generator, data: bytes) -> bytes:
    size = int(rng.choice([4, 64, 512]))
    first, second = sorted(int(i) for i in rng.integers(0, max(1, len(data) - size), 2))
    if second < first + size:
        return data[::-1]
    return (
        data[:first]
        + data[second : second + size]
        + data[first + size : second]
        + data[first : first + size]
        + data[second + size :]
    )


def _repeat(rng: np.random.Generator, data: bytes) -> bytes:
    start = int(rng.integers(0, len(data)))
    return data[:start] + data[start : start + 600] + data[start:]


def _other_content(rng: np.random.Generator, data: bytes) -> bytes:
    return [b"", b"\0", b"\xef\xbb\xbf", bytes(len(data)), rng.bytes(min(len(data), 5000)), b"\xff\xfe" + data][
        rng.integers(6)
    ]


BYTE_WAYS: tuple[Callable[[np.random.Generator, bytes], bytes], ...] = (
    _truncate, _flip, _flip, _flip, _overwrite, _insert, _remove, _swap_blocks, _repeat, _other_content,
)  # fmt: skip


def damaged_bytes(data: bytes, seed: Seed) -> tuple[str, bytes]:
    """Bytes with one fault: cut off, flipped bits, overwritten, inserted, removed, swapped, repeated, other content.

    Args:
        data: at least one byte.
        seed: of the damage.

    Returns:
        Name of the fault, and the bytes. Equal to ``data`` only where zeros were written over zeros.
    """
    rng = generator(seed)
    way = BYTE_WAYS[int(rng.integers(len(BYTE_WAYS)))]
    return way.__name__[1:], way(rng, data)


# -------------------------------------------------------------------------------------------------------- documents

Place = tuple[Any, Any]  # (container, key or position)

_WRONG: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308, -1e308, 0.1, 1e-300, -0.0, "", " ", "0",
    "-1", "nan", "1e999", "\0", "\x1b[31m", "../../etc/passwd", "/etc/passwd", "é" * 5, "x" * 10_000, "[/x]", "\ud7ff",
    "pipe:id", "!!python/object:os.system", "${HOME}", [], {}, [None], [[]], {"": None}, [0] * 1000, {"a": {"b": []}},
)  # fmt: skip


def places(value: Any) -> list[Place]:
    """Every place of a document that holds a value: (container, key)."""
    found: list[Place] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        inside = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        for key, below in inside:
            found.append((one, key))
            waiting.append(below)
    return found


def _pick(rng: np.random.Generator, document: Any, kinds: type | tuple[type, ...] = object) -> Place | None:
    fitting = [(box, key) for box, key in places(document) if isinstance(box[key], kinds)]
    return fitting[int(rng.integers(len(fitting)))] if fitting else None


def _of_depth(depth: int, *, mapping: bool) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = {"a": value} if mapping else [value]
    return value


def _wrong_type(rng: np.random.Generator, document: Any) -> Any:
    place = _pick(rng, document)
    new = copy.deepcopy(_WRONG[int(rng.integers(len(_WRONG)))])
    if place is None:
        return new
    place[0][place[1]] = new
    return document


def _delete(rng: np.random.Generator, document: Any) -> Any:
    place = _pick(rng, document)
    if place is not None:
        del place[0][place[1]]
    return document


def _foreign_key(rng: np.random.Generator, document: Any) -> Any:
    place = _pick(rng, document, dict)
    box = document if place is None or rng.random() < 0.3 else place[0][place[1]]
    if isinstance(box, dict):
        known = [key for key in box if isinstance(key, str)]
        near = known[int(rng.integers(len(known)))] + "s" if known else "a"
        names = ["", "__class__", "x" * 5000, "\x1b[2J", near, "../" + near]
        box[names[int(rng.integers(len(names)))]] = copy.deepcopy(_WRONG[int(rng.integers(len(_WRONG)))])
    return document


def _swap(rng: np.random.Generator, document: Any) -> Any:
    one, two = _pick(rng, document), _pick(rng, document)
    if one is not None and two is not None:
        first, second = copy.deepcopy(one[0][one[1]]), copy.deepcopy(two[0][two[1]])
        one[0][one[1]], two[0][two[1]] = second, first
    return document


def _reorder(rng: np.random.Generator, document: Any) -> Any:
    """Keys of a mapping or entries of a list in another order."""
    place = _pick(rng, document, (dict, list))
    box = document if place is None else place[0][place[1]]
    if isinstance(box, dict):
        entries = list(box.items())
        box.clear()
        box.update([entries[i] for i in rng.permutation(len(entries))])
    elif isinstance(box, list):
        box[:] = [box[i] for i in rng.permutation(len(box))]
    return document


def _wrap(rng: np.random.Generator, document: Any) -> Any:
    """A list for a value, a value for a list, a mapping for a list."""
    place = _pick(rng, document)
    if place is None:
        return [document]
    old = place[0][place[1]]
    if isinstance(old, list) and old and rng.random() < 0.5:
        new = old[0]
    elif isinstance(old, list):
        new = {str(i): one for i, one in enumerate(old)}
    elif isinstance(old, dict) and rng.random() < 0.7:
        new = list(old.values()) if rng.random() < 0.5 else [list(item) for item in old.items()]
    else:
        new = [old]
    place[0][place[1]] = new
    return document


def _number(rng: np.random.Generator, document: Any) -> Any:
    """Another number of the same type: off by one, negated, times ten, zero."""
    place = _pick(rng, document, (int, float))
    if place is None:
        return _wrong_type(rng, document)
    old = place[0][place[1]]
    place[0][place[1]] = [old + 1, -old, old * 10, 0, old - 1, old / 2, int(old) << 40][int(rng.integers(7))]
    return document


def _text(rng: np.random.Generator, document: Any) -> Any:
    """A string with other letters."""
    place = _pick(rng, document, str)
    if place is None:
        return _wrong_type(rng, document)
    old = place[0][place[1]]
    ways = [old.upper(), old + "x", old[:-1], old[::-1], old + "\n", "\u202e" + old, old * 100]
    place[0][place[1]] = ways[int(rng.integers(len(ways)))]
    return document


STRUCTURE_WAYS: tuple[Callable[[np.random.Generator, Any], Any], ...] = (
    _wrong_type, _wrong_type, _wrong_type, _delete, _foreign_key, _swap, _reorder, _wrap, _number, _number, _text,
)  # fmt: skip


def damaged_structure(document: Any, seed: Seed) -> tuple[str, Any]:
    """A copy of a JSON-like document with one change of types, keys, values or order.

    Returns:
        Name of the change, and the document; it may equal the original, where a value was replaced by an equal one.
    """
    rng = generator(seed)
    way = STRUCTURE_WAYS[int(rng.integers(len(STRUCTURE_WAYS)))]
    return way.__name__[1:], way(rng, copy.deepcopy(document))


def _literal(rng: np.random.Generator, document: Any) -> bytes:
    """A value that is no JSON, or text that no serialiser of ours writes, in the place of a value."""
    place = _pick(rng, document)
    if place is None:
        return b"NaN"
    place[0][place[1]] = "@@PLACE@@"
    raw = (
        "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "0x10", "01", "1_000", "9" * 5000, "0." + "3" * 5000,
        "[" * DEEP, "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, '{"a":1,"a":2}', "undefined", "'a'",
        '"\\ud800"',
        '"\\x00"', '"\x01"', "// a", "",
    )  # fmt: skip
    return json.dumps(document).replace('"@@PLACE@@"', raw[int(rng.integers(len(raw)))], 1).encode()


def _repeated_key(rng: np.random.Generator, document: Any) -> bytes:
    """A key twice: the second one with another value."""
    boxes = [box[key] for box, key in places(document) if isinstance(box[key], dict) and box[key]]
    boxes += [document] if isinstance(document, dict) and document else []
    if not boxes:
        return b'{"a": 1, "a": 2}'
    box = boxes[int(rng.integers(len(boxes)))]
    name = list(box)[int(rng.integers(len(box)))]
    box["@@KEY@@"] = copy.deepcopy(_WRONG[int(rng.integers(13))]) if rng.random() < 0.5 else copy.deepcopy(box[name])
    return json.dumps(document).replace('"@@KEY@@"', json.dumps(name), 1).encode()


def _encoding(rng: np.random.Generator, document: Any) -> bytes:
    codes = ["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp500"]
    return json.dumps(document, ensure_ascii=False).encode(codes[int(rng.integers(len(codes)))], errors="replace")


def _around(rng: np.random.Generator, document: Any) -> bytes:
    text = json.dumps(document).encode()
    ways = [text + text, text + b"x", b"x" + text, text + b"\0", text[:-1], b"[" + text + b"]", text + b"\n" * 100]
    return ways[int(rng.integers(len(ways)))]


def _not_utf8(rng: np.random.Generator, document: Any) -> bytes:
    text = json.dumps(document).encode()
    at = int(rng.integers(len(text)))
    return text[:at] + [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\0"][int(rng.integers(4))] + text[at:]


TEXT_WAYS: tuple[Callable[[np.random.Generator, Any], bytes], ...] = (
    _literal, _literal, _literal, _repeated_key, _encoding, _around, _not_utf8,
)  # fmt: skip


def damaged_json(document: Any, seed: Seed) -> tuple[str, bytes]:
    """The text of a JSON document with one fault: in its structure, in its text, or in its bytes.

    Returns:
        Name of the fault, and the text.
    """
    rng = generator(seed)
    chance = rng.random()
    if chance < 0.6:
        name, changed = damaged_structure(document, rng)
        try:
            return name, json.dumps(changed).encode()
        except UnicodeEncodeError:
            return name, json.dumps(changed).encode(errors="replace")
    if chance < 0.85:
        way = TEXT_WAYS[int(rng.integers(len(TEXT_WAYS)))]
        return way.__name__[1:], way(rng, copy.deepcopy(document))
    return damaged_bytes(json.dumps(document).encode(), rng)


# ----------------------------------------------------------------------------------------------------------- arrays


def _one_bit(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    raw = values.view(np.uint8).reshape(-1)
    raw[int(rng.integers(len(raw)))] ^= np.uint8(1 << rng.integers(8))
    return values


def _reverse(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values[::-1])


def _shuffle_rows(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values[rng.permutation(len(values))])


def _constant(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    number = [0, np.nan, np.inf, 1e38, -1, 1][int(rng.integers(6))]
    with np.errstate(all="ignore"):
        return np.full(values.shape, number).astype(values.dtype)


def _one_value(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    number = [0, np.nan, np.inf, 1e38, -1, 1][int(rng.integers(6))]
    with np.errstate(all="ignore"):
        values.reshape(-1)[int(rng.integers(values.size))] = np.asarray(number).astype(values.dtype)
    return values


def _other_dtype(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    kinds = ["float64", "float16", "int8", ">f4", "complex64", "bool", "U3"]
    with np.errstate(all="ignore"):
        return values.astype(kinds[int(rng.integers(len(kinds)))])


def _other_shape(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    ways = [values[:-1], np.concatenate([values, values[:1]]), values[None], values.reshape(-1), values.T, values[:0]]
    return np.ascontiguousarray(ways[int(rng.integers(len(ways)))])


def _scaled(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return (values * np.float64([1000, -1, 1.001, 0.1][int(rng.integers(4))])).astype(values.dtype)


def _bytes_swapped(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    return values.byteswap()


def _rolled(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    return np.roll(values, 1, axis=int(rng.integers(values.ndim)))


ARRAY_WAYS: tuple[Callable[[np.random.Generator, np.ndarray], np.ndarray], ...] = (
    _one_bit, _one_bit, _one_bit, _reverse, _shuffle_rows, _constant, _one_value, _other_dtype, _other_shape, _scaled,
    _bytes_swapped, _rolled,
)  # fmt: skip


def npy(values: np.ndarray) -> bytes:
    """The bytes of an .npy file."""
    out = io.BytesIO()
    np.save(out, values, allow_pickle=False)
    return out.getvalue()


def damaged_npy(data: bytes, seed: Seed) -> tuple[str, bytes]:
    """An .npy file with other values, rows, shape or type (well-formed), or, in a third of the cases, other bytes."""
    rng = generator(seed)
    values = np.load(io.BytesIO(data), allow_pickle=False)
    if rng.random() < 0.35 or not values.size or not values.ndim:
        return damaged_bytes(data, rng)
    way = ARRAY_WAYS[int(rng.integers(len(ARRAY_WAYS)))]
    return way.__name__[1:], npy(way(rng, values.copy()))


# ---------------------------------------------------------------------------------------------------------- archives


def damaged_lines(data: bytes, seed: Seed) -> tuple[str, bytes]:
    """A file of JSON lines with one fault: a line damaged as a document, missing, repeated, cut off, or other bytes."""
    rng = generator(seed)
    lines = data.splitlines()
    if rng.random() < 0.3 or not lines:
        return damaged_bytes(data, rng)
    at = int(rng.integers(len(lines)))
    chance = rng.random()
    if chance < 0.6:
        name, lines[at] = damaged_json(json.loads(lines[at]), rng)
    elif chance < 0.7:
        name, _ = "missing_line", lines.pop(at)
    elif chance < 0.8:
        name = "repeated_line"
        lines.insert(at, lines[at])
    elif chance < 0.9:
        name = "blank_line"
        lines.insert(at, [b"", b"  ", b"\0" * 4096][int(rng.integers(3))])
    else:
        name = "cut_last"
        lines[-1] = lines[-1][: int(rng.integers(1, len(lines[-1])))]
        return name, b"\n".join(lines)
    return name, b"\n".join(lines) + b"\n"
