"""Every value of a config replaced by values that no user means; each mutant runs in a child process of its own.

`mutants` changes one place of a document at a time. `outcomes` forks once for each mutant, so that a crash, a hang or a
process out of memory is an outcome like any other and the imports are paid once.
"""

from __future__ import annotations

import copy
import math
import os
import pickle
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from imu_video.errors import ImuVideoError

MEMORY_MB = 3000
"""Memory that a mutant may use in addition to what the process has when it forks."""
HANG_S = float(os.environ.get("IMU_VIDEO_HANG_S", "120"))
"""Ends a mutant that hangs. Generous: a test may not depend on the load of the machine."""
DEEP: Any = []
for _ in range(60):
    DEEP = [DEEP]
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "empty text": "",
    "text": "nothing",
    "long text": "x" * 5000,
    "list": [],
    "mapping": {},
    "list of null": [None],
    "deep": DEEP,
    "zero": 0,
    "minus one": -1,
    "half": 0.5,
    "one": 1,
    "seven": 7,
    "2**31": 2**31,
    "2**40": 2**40,
    "2**63": 2**63,
    "10**30": 10**30,
    "1e300": 1e300,
    "1e-300": 1e-300,
    "-1e300": -1e300,
    "inf": math.inf,
    "nan": math.nan,
    "path": "../../../nowhere",
    "url": "http://localhost:1/x.yaml",
    "device": "/dev/zero",
    "date": "2001-01-01",
    "control": "\x1b[31mred\x07",
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every value inside a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inside:
        yield (*path, key)
        yield from places(below, (*path, key))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of a document with another value at one place."""
    made = copy.deepcopy(document)
    box = made
    for key in path[:-1]:
        box = box[key]
    box[path[-1]] = value
    return made


def mutants(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and YAML text of every mutant of a config: wrong values, removed, repeated and unknown keys."""
    for path in places(document):
        key = ".".join(map(str, path))
        for name, value in VALUES.items():
            yield f"{key} = {name}", dump(changed(document, path, value))
        box: Any = document
        for step in path[:-1]:
            box = box[step]
        if isinstance(box[path[-1]], list) and box[path[-1]]:
            yield f"{key} twice", dump(changed(document, path, box[path[-1]] * 2))
        if isinstance(box, dict):
            without = copy.deepcopy(document)
            inner: Any = without
            for step in path[:-1]:
                inner = inner[step]
            inner["unknown_key"] = inner.pop(path[-1])
            yield f"{key} under another name", dump(without)


def dump(document: Any) -> str:
    """YAML without aliases."""
    return yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


WHOLE: dict[str, bytes] = {
    "empty": b"",
    "null": b"null",
    "list": b"[1, 2]",
    "number": b"7",
    "text": b"config",
    "NUL": b"\0",
    "zeros": bytes(4096),
    "UTF-16": "name: x".encode("utf-16"),
    "UTF-32": "name: x".encode("utf-32"),
    "Latin-1": "name: é".encode("latin-1"),
    "deep": b"[" * 100_000,
    "deep mapping": b"{a: " * 100_000,
    "recursive alias": b"a: &a [*a]",
    "recursive mapping": b"name: &a {b: *a}",
    "recursive root": b"&a {extends: *a}",
    "laughs": b"a0: &a0 [x, x]\n"
    + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 12)),
    "tag": b"!!python/object/apply:os.system [exit]",
    "two documents": b"a: 1\n---\nb: 2",
    "digits": b"seed: " + b"1" * 100_000,
    "base 60": b"seed: 1" + b":1" * 100_000,
    "no such day": b"name: 2001-99-99",
    "extends null": b"extends: null",
    "extends list": b"extends: [null]",
    "extends number": b"extends: 7",
    "extends mapping": b"extends: {a: 1}",
    "extends itself": b"extends: mutant.yaml",
    "extends nowhere": b"extends: gone.yaml",
    "extends device": b"extends: /dev/zero",
    "extends folder": b"extends: .",
    "extends absolute": b"extends: /etc/passwd",
    "extends url": b"extends: http://localhost:1/x.yaml",
    "extends text": b"extends: ''",
    "extends NUL": rb'extends: "a\0b"',
    "extends twice": b"extends: [gone.yaml, gone.yaml]",
    "no variable": b"name: ${NO_SUCH_VARIABLE_HERE}",
    "half a variable": b"name: ${",
    "surrogate": rb'name: "\ud800"',
    "null key": b"null: 1",
    "list key": b"? [a]\n: 1",
    "true key": b"true: 1\n1: 2",
    "mixed keys": b"data: {1: a, b: c, null: d}\noptim: {2: 3}",
}


@dataclass(frozen=True)
class Outcome:
    """How a mutant ended.

    Args:
        mutant: its name.
        kind: ``accepted``, ``refused`` (an error of ours), or ``traceback``, ``signal``, ``hang``.
        message: the message, or the end of the traceback.
        code: exit code of the error.
    """

    mutant: str
    kind: str
    message: str = ""
    code: int = 0

    def right(self, *names: str) -> bool:
        """Whether the mutant was accepted or refused by one error that has one of the names in it."""
        return self.kind == "accepted" or (self.kind == "refused" and any(name in self.message for name in names))


def outcomes(
    cases: Iterable[tuple[str, str | bytes]], run: Callable[[Path], Any], folder: Path, *, workers: int = 1
) -> Iterator[Outcome]:
    """How each mutant ends, in the order of the ends.

    Args:
        cases: name and content of each mutant.
        run: called with the path of the mutant in a child process.
        folder: for the mutants, one folder each.
        workers: children at a time.
    """
    waiting, running = iter(cases), {}
    number = 0
    done = False
    while running or not done:
        while not done and len(running) < workers:
            case = next(waiting, None)
            if case is None:
                done = True
                break
            number += 1
            own = folder / str(number)
            own.mkdir(parents=True)
            path = own / "mutant.yaml"
            path.write_bytes(case[1].encode() if isinstance(case[1], str) else case[1])
            read, child = _start(run, path)
            running[read] = (child, case[0], time.monotonic(), own)
        ready, _, _ = select.select(list(running), [], [], 1.0)
        for read, (child, name, began, own) in list(running.items()):
            late = time.monotonic() - began > HANG_S
            if read not in ready and not late:
                continue
            if read not in ready:
                os.kill(child, signal.SIGKILL)
            with os.fdopen(read, "rb") as pipe:
                data = pipe.read()
            _, status = os.waitpid(child, 0)
            del running[read]
            for path in sorted(own.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
            own.rmdir()
            if data:
                yield Outcome(name, *pickle.loads(data))
            else:
                yield Outcome(name, "hang" if late else "signal", f"status {status}")


def _start(run: Callable[[Path], Any], path: Path) -> tuple[int, int]:
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return read, child
    try:
        os.close(read)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = used + (MEMORY_MB << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(path.parent)
        try:
            run(path)
            found: tuple[str, str, int] = ("accepted", "", 0)
        except ImuVideoError as error:
            found = ("refused", str(error), error.exit_code)
        except BaseException as error:
            lines = traceback.format_exception(error)
            found = ("traceback", "".join(lines)[-1500:], 1)
        os.write(write, pickle.dumps(found)[: 1 << 16])
    finally:
        os._exit(0)
