"""Commands in forked processes of one interpreter (`zygote.py`), for tests that start hundreds of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Result:
    """How a command ended: exit status (negative: by a signal) and what it printed."""

    code: int
    out: str
    err: str

    @property
    def traceback(self) -> bool:
        """Whether it printed a traceback."""
        return "Traceback (most recent call last)" in self.err


class Commands:
    """Starts commands one at a time.

    Args:
        folder: working folder, and that of their output.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(HERE / "zygote.py"), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            start_new_session=True,
        )

    def begin(self, program: str, *arguments: object, umask: int | None = None) -> int:
        """Start a command; its process id."""
        request = {
            "program": program,
            "arguments": [str(word) for word in arguments],
            "out": str(self.folder / "out.txt"),
            "err": str(self.folder / "err.txt"),
            "umask": umask,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._number()

    def end(self) -> Result:
        """Wait for the command."""
        code = self._number()
        out, err = ((self.folder / f"{name}.txt").read_text(errors="replace") for name in ("out", "err"))
        return Result(code, out, err)

    def run(self, program: str, *arguments: object, umask: int | None = None) -> Result:
        """Run a command to its end."""
        self.begin(program, *arguments, umask=umask)
        return self.end()

    def close(self) -> None:
        """End the interpreter, which has no command then."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def _number(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def children(pid: int) -> list[int]:
    """Process ids of a process's children."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
