"""Script for tests: imports the commands once and runs each request in a forked process, in place of a new interpreter.

A request is a line of JSON: the command and its arguments, and the files for stdout and stderr. The answers are two
lines: the process id, and the exit status when it has ended. The processes of ``--nproc`` are forked, too.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch  # noqa: F401  imported once, for all forks

import eval.cli
import imu_video.cli.app
import pretrain.cli
import pretrain.export
import pretrain.prepare.checks
import pretrain.run
import pretrain.runs.launch
from imu_video.runtime.signals import STOP

MAINS: dict[str, Callable[[], None]] = {
    "imu-video": imu_video.cli.app.main,
    "imu-pretrain": pretrain.cli.main,
    "imu-eval": eval.cli.main,
}


def execute(program: str, arguments: Sequence[str]) -> None:
    """Run a command as a new interpreter would, and end the process."""
    code = 1
    try:
        for number in STOP:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        sys.argv = [program, *arguments]
        MAINS[program]()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Forked:
    """A stand-in for `subprocess.Popen` that forks and runs ``python -P -m pretrain ...`` without a new interpreter."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: dict[str, str],
        stdout: IO[bytes] | None,
        stderr: IO[bytes],
        start_new_session: bool,
    ) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            os.environ.clear()
            os.environ.update(env)
            if stdout is not None:
                os.dup2(stdout.fileno(), 1)
            os.dup2(stderr.fileno(), 2)
            execute("imu-pretrain", command[command.index("pretrain") + 1 :])

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def serve(request: dict[str, Any]) -> None:
    """Run one request."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        for name, number in (("out", 1), ("err", 2)):
            handle = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, number)
        if request.get("umask") is not None:
            os.umask(request["umask"])
        execute(request["program"], request["arguments"])
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    pretrain.runs.launch.subprocess = SimpleNamespace(Popen=Forked)  # type: ignore[assignment]
    os.chdir(Path(sys.argv[1]))
    for line in sys.stdin:
        serve(json.loads(line))
