"""Every value of a config replaced by values that no user means; the mutants run in child processes.

`mutants` changes one place of a document at a time. `outcomes` runs them in forked children, so that a crash, a hang or
a process out of memory is an outcome like any other and the imports are paid once.
"""

from __future__ import annotations

import copy
import math
import os
import pickle
import resource
import select
import shutil
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from imu_video.errors import ImuVideoError

MEMORY_MB = 2048
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


def outcomes(
    cases: Iterable[tuple[str, str | bytes]],
    run: Callable[[Path], Any],
    folder: Path,
    *,
    workers: int = 1,
    name: str = "mutant.yaml",
    batch: int = 25,
) -> Iterator[Outcome]:
    """How each mutant ends, in the order of the ends.

    Args:
        cases: name and content of each mutant.
        run: called with the path of the mutant in a child process.
        folder: for the mutants, one folder each.
        workers: children at a time.
        name: file name of the mutants.
        batch: mutants of one child; after one that ends it, the others run in a new child.
    """
    waiting = deque(cases)
    running: dict[int, _Child] = {}
    number = 0
    while running or waiting:
        while waiting and len(running) < workers:
            number += 1
            own = [waiting.popleft() for _ in range(min(batch, len(waiting)))]
            child = _start(run, own, folder / str(number), name)
            running[child.pipe] = child
        ready, _, _ = select.select(list(running), [], [], 1.0)
        for child in list(running.values()):
            if child.pipe not in ready:
                if time.monotonic() - child.last > HANG_S:
                    child.hangs = True
                    os.kill(child.pid, signal.SIGKILL)
                continue
            data = os.read(child.pipe, 1 << 16)
            child.data += data
            child.last = time.monotonic()
            while len(child.data) >= 4 and len(child.data) >= 4 + (size := int.from_bytes(child.data[:4], "big")):
                yield Outcome(child.cases.popleft()[0], *pickle.loads(child.data[4 : 4 + size]))
                child.data = child.data[4 + size :]
            if data:
                continue
            _, status = os.waitpid(child.pid, 0)
            os.close(child.pipe)
            del running[child.pipe]
            shutil.rmtree(child.folder)
            if child.cases:
                yield Outcome(child.cases.popleft()[0], "hang" if child.hangs else "signal", f"status {status}")
                waiting.extendleft(reversed(child.cases))


@dataclass
class _Child:
    pid: int
    pipe: int
    cases: deque[tuple[str, str | bytes]]
    folder: Path
    last: float
    data: bytes = b""
    hangs: bool = False


def _start(run: Callable[[Path], Any], cases: list[tuple[str, str | bytes]], folder: Path, name: str) -> _Child:
    read, write = os.pipe()
    folder.mkdir(parents=True)
    pid = os.fork()
    if pid:
        os.close(write)
        return _Child(pid, read, deque(cases), folder, time.monotonic())
    try:
        os.close(read)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = used + (MEMORY_MB << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number, (_, content) in enumerate(cases):
            own = folder / str(number)
            own.mkdir()
            (own / name).write_bytes(content.encode() if isinstance(content, str) else content)
            os.chdir(own)
            record = pickle.dumps(_outcome(run, own / name))
            os.write(write, len(record).to_bytes(4, "big") + record)
    finally:
        os._exit(0)


def _outcome(run: Callable[[Path], Any], path: Path) -> tuple[str, str, int]:
    try:
        run(path)
    except ImuVideoError as error:
        return "refused", str(error)[:4000], error.exit_code
    except BaseException as error:
        return "traceback", "".join(traceback.format_exception(error))[-1500:], 1
    return "accepted", "", 0
