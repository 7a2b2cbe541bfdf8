"""Base of the kinds of files that are damaged: damage by file type, one outcome per seed; the kinds are in kinds.py.

`Kind.check(seed)` damages a small intact file, lets our code read it, and returns None where the outcome is right: an
error of ours that names the file or key, or the intact content. Anything else is described in words: another exception,
other content without an error. `million.py` counts crashes of the process.
"""

from __future__ import annotations

import json
import logging
import warnings
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import yaml

from imu_video.errors import ImuVideoError
from tests.faults.archives import damaged_archive
from tests.faults.mutate import damaged_bytes, damaged_json, damaged_lines, damaged_npy, damaged_structure

Damager = Callable[[bytes, np.random.Generator], tuple[str, bytes]]
SAMPLES = {"train": 8, "val": 4}
LAUGHS = b"a0: &a0 [x, x]\n" + b"".join(
    b"a%d: &a%d [" % (i, i) + b"*a%d, " % (i - 1) * 9 + b"]\n" for i in range(1, 10)
)
"""A document of a few hundred bytes that stands for 10^9 values."""


def as_json(data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Damage a JSON file as a document."""
    return damaged_json(json.loads(data), rng)


def damager(path: Path) -> Damager:
    """The way to damage a file, from the end of its name."""
    ways: dict[str, Damager] = {".json": as_json, ".jsonl": damaged_lines, ".npy": damaged_npy, ".yaml": as_yaml}
    ways[".zip"] = damaged_archive
    return ways.get(path.suffix, damaged_bytes)


def as_yaml(data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Damage a YAML file: its structure (written as YAML or as JSON, which YAML contains), its text, or its bytes."""
    chance = rng.random()
    if chance < 0.4:
        name, changed = damaged_structure(yaml.safe_load(data), rng)
        return name, yaml.safe_dump(changed, sort_keys=False).encode(errors="replace")
    if chance < 0.8:
        return damaged_json(yaml.safe_load(data), rng)
    if chance < 0.9:
        extra = (
            LAUGHS,
            b"a: &a {b: *a}\n", b"a: &a [*a]\n", b"? [a, b]\n: 1\n", b"<<: *missing\n", b"a: !!python/name:os.system\n",
            b"a: !!binary x\n", b"a: !!timestamp 2001-99-99\n", b"1: 2\n", b"null: 1\n", b"yes: no\n",
            b"---\na: 1\n---\n",
            b"a: 1_000\nb: 0o17\nc: 1:30\n", b"extends: null\n", b"extends: [1]\n", b"\tx: 1\n", b"a: .inf\nb: .nan\n",
            b"seed: .inf\n", b"seed: 1e400\n", b"name: ${HOME\n", b"name: ${}\n", b"a: |\n", b"%YAML 9.9\n---\n",
        )  # fmt: skip
        which = int(rng.integers(len(extra)))
        return f"yaml_{which}", data + b"\n" + extra[which] if rng.random() < 0.5 else extra[which] + data
    return damaged_bytes(data, rng)


class Kind(ABC):
    """Base of the kinds.

    Args:
        root: an empty folder of this kind, preferably in memory.
    """

    name: ClassVar[str]

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        logging.getLogger("imu_video").setLevel(logging.CRITICAL)
        logging.getLogger("pretrain").setLevel(logging.CRITICAL)
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Make the intact files."""

    @abstractmethod
    def once(self, rng: np.random.Generator) -> tuple[str, str | None]:
        """Damage, read, compare, restore: name of the damage, and what was wrong or None."""

    def check(self, seed: int) -> str | None:
        """None where the outcome of this seed is right, otherwise what was wrong."""
        rng = np.random.default_rng([zlib.crc32(self.name.encode()), seed])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            way, wrong = self.once(rng)
        return None if wrong is None else f"{way}: {wrong}"


def outcome(read: Callable[[], str | None], names: tuple[str, ...]) -> str | None:
    """None where ``read`` returns None or raises an error of ours whose message contains one of ``names``."""
    try:
        return read()
    except ImuVideoError as error:
        if not error.message.strip():
            return "an error without a message"
        if not any(name in str(error) for name in names):
            return f"the message names none of {names}: {error.message[:200]!r}"
        return None
    except MemoryError:
        return "MemoryError"
    except Exception as error:
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        line = "" if where is None else f" at {Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}"
        return f"{type(error).__name__}{line}: {str(error)[:200]}"


class FileKind(Kind):
    """A kind whose damage is in one of the files below ``root``."""

    @abstractmethod
    def targets(self) -> list[Path]:
        """Files to damage."""

    @abstractmethod
    def read(self) -> str | None:
        """Read the damaged files; None where all is right."""

    def prepare(self) -> None:
        self.make()
        self.intact = {path: path.read_bytes() for path in sorted(self.root.rglob("*")) if path.is_file()}
        self.chosen = self.targets()
        assert self.chosen, f"{self.name}: nothing to damage in {self.root}"

    @abstractmethod
    def make(self) -> None:
        """Write the intact files below ``root``."""

    def once(self, rng: np.random.Generator) -> tuple[str, str | None]:
        path = self.chosen[int(rng.integers(len(self.chosen)))]
        way, data = damager(path)(self.intact[path], rng)
        path.write_bytes(data)
        self.damaged = path
        try:
            wrong = outcome(self.read, (str(self.root), path.name, *self.words()))
        finally:
            self.restore()
        return f"{path.relative_to(self.root)}, {way}", wrong

    def words(self) -> tuple[str, ...]:
        """Further words of which one makes a message precise."""
        return ()

    def restore(self) -> None:
        """Put the intact files back and remove what reading made."""
        for path in sorted(self.root.rglob("*"), reverse=True):
            if path.is_file() and path not in self.intact:
                path.unlink()
        for path, data in self.intact.items():
            if (
                not path.is_file()
                or path.stat().st_size != len(data)
                or path == self.damaged
                or path.read_bytes() != data
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.exists():
                    path.unlink()  # never through a memory map of the damaged file
                path.write_bytes(data)
