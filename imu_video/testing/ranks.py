"""Run one function in several gloo processes of this machine, for tests and checks; not for training.

Arguments and results are passed as files of tensors and plain values, which torch reads with ``weights_only``.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


def run_on_ranks(
    function: Callable[..., Any],
    *args: Any,
    ranks: int = 2,
    timeout_s: float = 900.0,
    env: dict[str, str] | None = None,
) -> list[Any]:
    """Call ``function(*args)`` in ``ranks`` new processes with a common gloo process group and return all results.

    Args:
        function: defined at the top level of a file; every process executes that file.
        args: tensors, numbers, strings, and lists, tuples and dicts of them.
        ranks: processes, 1 or more.
        timeout_s: seconds after which all processes are stopped; also the timeout of every collective.
        env: further environment variables.

    Returns:
        One result per rank, in order; the same types of values as ``args``.

    Raises:
        RuntimeError: a process failed (with the end of its error output) or the timeout was reached.

    Example:
        ``run_on_ranks(my_module.mean_over_ranks, torch.ones(3), ranks=2)``
    """
    file = inspect.getsourcefile(function)
    if file is None or "." in function.__qualname__ or ranks < 1:
        raise ValueError(f"{function.__qualname__} must be a top-level function of a file, ranks at least 1")
    with tempfile.TemporaryDirectory(prefix="imu-video-ranks-") as name:
        folder = Path(name)
        torch.save(list(args), folder / "args.pt")
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            **(env or {}),
        }
        command = [sys.executable, "-P", __file__]  # as a plain file: the package would load more than a rank needs
        task = [str(folder), str(Path(file).resolve()), function.__qualname__, str(ranks), str(timeout_s)]
        processes = []
        try:
            for rank in range(ranks):
                with (folder / f"log-{rank}.txt").open("wb") as log:
                    processes.append(
                        subprocess.Popen([*command, *task, str(rank)], env=environment, stdout=log, stderr=log)
                    )
            _wait(processes, folder, timeout_s)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                process.wait()
        return [torch.load(folder / f"result-{rank}.pt", weights_only=True) for rank in range(ranks)]


def _wait(processes: Sequence[subprocess.Popen[bytes]], folder: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while any(p.poll() is None for p in processes):
        failed = [rank for rank, p in enumerate(processes) if p.poll() not in (None, 0)]
        if failed or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    if all(p.poll() == 0 for p in processes):
        return
    # A failing rank makes the others fail, sometimes before it has exited itself: the outputs of all ranks are shown.
    late = time.monotonic() > deadline
    grace = time.monotonic() + (0 if late else 60)
    while any(p.poll() is None for p in processes) and time.monotonic() < grace:
        time.sleep(0.02)
    logs = [
        f"rank {rank}, {'running' if p.poll() is None else f'exit code {p.poll()}'}:\n" + _tail(folder, rank)
        for rank, p in enumerate(processes)
        if p.poll() != 0
    ]
    raise RuntimeError("\n".join([f"no end after {timeout_s:g} s" if late else "a rank failed", *logs]))


def _tail(folder: Path, rank: int) -> str:
    return (folder / f"log-{rank}.txt").read_text(encoding="utf-8", errors="replace")[-3000:] or "no output"


def _child() -> None:
    """Entry point of one process: join the group, call the function, write the result into the folder."""
    folder, file, qualname, ranks, timeout_s, rank = sys.argv[1:]
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("imu_video_rank_function", file)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    args = torch.load(Path(folder) / "args.pt", weights_only=True)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=int(rank),
        world_size=int(ranks),
        timeout=timedelta(seconds=float(timeout_s)),
    )
    try:
        torch.save(getattr(module, qualname)(*args), Path(folder) / f"result-{rank}.pt")
        dist.barrier()
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    _child()
