"""Child processes of the tests of faults: a memory limit, a generous deadline, how they ended, and their peak memory.

A deadline here only ends what hangs: it is minutes where the work takes seconds, so that no result depends on the load.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DEADLINE_S = 900.0
LIMIT_MB = 6000
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Args:
        code: exit status; negative: the number of the signal that killed it; None: it hung and was killed.
        out, err: what it printed.
        peak_mb: largest resident memory of the child alone, in MB (10^6 bytes).
    """

    code: int | None
    out: str
    err: str
    peak_mb: float

    @property
    def killed(self) -> bool:
        """Whether a signal ended it (SIGSEGV, SIGABRT, SIGBUS, out of memory), or it hung."""
        return self.code is None or self.code < 0 or self.code in (134, 135, 137, 139)

    @property
    def traceback(self) -> bool:
        """Whether it printed a traceback of Python, instead of a message."""
        return "Traceback (most recent call last)" in self.err

    @property
    def message(self) -> bool:
        """Whether it ended as a command of ours ends: done, or with an exit code of ours and a message in words."""
        return self.code in (0, 2, 3, 4, 5) and not self.traceback and (self.code == 0 or bool(self.err.strip()))


def start(
    arguments: Sequence[str | Path],
    *,
    limit_mb: int = LIMIT_MB,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    deadline_s: float = DEADLINE_S,
    file_mb: int | None = None,
) -> Ended:
    """Run ``python -P ARGUMENTS`` and wait.

    Args:
        arguments: what follows ``python -P``: a script with its arguments, ``-m`` and a module, or ``-c`` and code.
        limit_mb: limit of the memory that the child may allocate (RLIMIT_DATA: heap and anonymous maps, without files).
        env: variables in addition to this process's.
        cwd: working folder; the root of the repository by default.
        deadline_s: a child that runs longer hangs; it is killed.
        file_mb: largest file that it may write, or None.
    """

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit_mb << 20, limit_mb << 20))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if file_mb is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_mb << 20, file_mb << 20))

    here = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200", **(env or {})}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(
            [sys.executable, "-P", *map(str, arguments)],
            stdout=out,
            stderr=err,
            cwd=cwd or ROOT,
            env=here,
            preexec_fn=limits,  # between fork and exec of a single-threaded test process
            start_new_session=True,
        )
        code: int | None
        try:
            child.wait(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, 9)
            child.wait()
            code = None
        else:
            code = child.returncode
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    peak = 0.0
    for line in texts[1].splitlines():
        if line.startswith("@@peak_kb "):
            peak = int(line.split()[1]) * 1024 / 1e6
    return Ended(code=code, out=texts[0], err=texts[1], peak_mb=peak)


def run_code(code: str, *arguments: str | Path, **options: object) -> Ended:
    """Run Python code in a child that also reports its peak memory; ``sys.argv[1:]`` are the arguments."""
    report = (
        "import atexit, resource, sys\n"
        "atexit.register(lambda: print('@@peak_kb', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "
        "file=sys.stderr))\n"
    )
    return start(["-c", report + code, *arguments], **options)  # type: ignore[arg-type]


def command(program: str, *arguments: str | Path, **options: object) -> Ended:
    """Run ``imu-video``, ``imu-pretrain`` or ``imu-eval`` in a child."""
    modules = {"imu-video": "imu_video.cli.app", "imu-pretrain": "pretrain.cli", "imu-eval": "eval.cli"}
    code = f"import sys; from {modules[program]} import main; sys.argv[0] = {program!r}; sys.exit(main())"
    return run_code(code, *arguments, **options)
