"""Starts and supervises the processes of a run on this machine; each of them executes run.py.

One process runs in place. With ``--nproc N`` this process only supervises: it passes stop signals on, and when one
process fails it ends the others and reports the one that failed first. Under an outer launcher (torchrun, or Slurm
with RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT set) every process runs in place.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from types import FrameType
from typing import IO

from imu_video.errors import ConfigError, ImuVideoError
from imu_video.runtime import console
from imu_video.runtime.signals import handled, stop_signal

PARENT = "IMU_VIDEO_LAUNCHER"
"""Environment variable with the supervisor's process id: its processes stop when the supervisor has ended."""

_GRACE_S = 20.0
_OWN_CODES = {2, 3, 4, 5}  # errors that are printed as one message


class WorkerFailed(ImuVideoError):
    """A process of ``--nproc`` that ended with an error; carries its exit code."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.exit_code = code


def supervise(command: Sequence[str], *, nproc: int, threads: int | None = None) -> int:
    """Run a command in ``nproc`` processes that form one group, until all have ended.

    Rank 0 writes its progress to this terminal. Errors and warnings are buffered: at the end those of rank 0 are shown,
    or, if a process failed, only those of the process that failed first (the rest fail as a consequence).

    Args:
        command: program and arguments, without ``--nproc``.
        nproc: processes, >= 2.
        threads: CPU threads of each; None = an equal share of this machine's.

    Returns:
        0, or the exit code of rank 0 if it ended with an error message, which is shown unchanged, or 128 + the number
        of a signal that ended the processes before they trained.

    Raises:
        ConfigError: already inside a group.
        WorkerFailed: a process failed otherwise; the error carries its exit code.
    """
    if "WORLD_SIZE" in os.environ:
        raise ConfigError(
            f"--nproc {nproc} inside a group of processes (WORLD_SIZE={os.environ['WORLD_SIZE']})",
            hint="omit --nproc: the outer launcher starts the processes",
        )
    common = {
        "WORLD_SIZE": str(nproc),
        "LOCAL_WORLD_SIZE": str(nproc),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        PARENT: str(os.getpid()),
        "OMP_NUM_THREADS": str(threads or max(1, _cpus() // nproc)),
    }
    workers: list[subprocess.Popen[bytes]] = []
    logs: list[IO[bytes]] = []

    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and number in received:
            raise KeyboardInterrupt  # Ctrl-C again: end at once
        received.append(number)
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(number)

    try:
        with handled(forward):
            for rank in range(nproc):
                log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed below
                logs.append(log)
                environment = {**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                # Their own session: the terminal's Ctrl-C reaches them once, through `forward`.
                worker = subprocess.Popen(
                    command, env=environment, stdout=log if rank else None, stderr=log, start_new_session=True
                )
                workers.append(worker)
                if received:  # before this process could be reached
                    worker.send_signal(received[0])
            failed = _wait(workers)
        code = workers[failed].returncode if failed is not None else 0
        if failed is None or (failed == 0 and code in _OWN_CODES):
            console.relay(_text(logs[0]))
            return code
        if (stopped := stop_signal(code)) is not None:
            console.relay(f"stopped by {stopped.name}\n  the same command resumes the run\n")
            return 128 + stopped
        raise WorkerFailed(_describe(failed, code, nproc, logs[failed]), code=code if code > 0 else 128 - code)
    finally:
        for worker in workers:
            if worker.poll() is None:  # reached only by an error in this process: nothing must outlive it
                worker.kill()
                worker.wait()
        for log in logs:
            log.close()


def _wait(workers: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all workers; the number of the one that caused the failure, or None if all succeeded.

    A worker with one of our exit codes reported the cause; the others fail because they lost their peer.
    """
    first: int | None = None
    deadline = 0.0
    while any(worker.poll() is None for worker in workers):
        codes = [worker.poll() for worker in workers]
        if first is None:
            first = next((i for i, code in enumerate(codes) if code), None)
            deadline = time.monotonic() + _GRACE_S
        elif time.monotonic() > deadline:  # a rank that waits for a lost peer may never return by itself
            for worker in workers:
                if worker.poll() is None:
                    worker.kill()
        time.sleep(0.05)
    if first is None:
        first = next((i for i, worker in enumerate(workers) if worker.returncode), None)
    return next((i for i, worker in enumerate(workers) if worker.returncode in _OWN_CODES), first)


def _describe(rank: int, code: int, nproc: int, log: IO[bytes]) -> str:
    how = f"with code {code}" if code > 0 else f"by {signal.Signals(-code).name}"
    tail = _text(log).strip().splitlines()[-20:]
    return "\n".join(
        [f"process {rank} of {nproc} ended {how}; it wrote:", *(f"    {line}" for line in tail or ["nothing"])]
    )


def _text(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _free_port() -> int:
    # Another program could take the port before rank 0 binds it; the group then fails to open with an error.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
