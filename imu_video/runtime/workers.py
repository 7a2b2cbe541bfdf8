"""Run one task on many items: in this process, in several processes or on a Ray cluster; no specific tasks.

Results arrive in the order of the items. A task writes its output to a shared folder and returns little.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_all_start_methods, get_context, parent_process
from multiprocessing.context import BaseContext
from typing import Any, Literal, TypeVar

from imu_video.errors import ConfigError, ShardError
from imu_video.runtime.children import without_working_folder
from imu_video.runtime.signals import left_to_the_parent

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")
Task = Callable[[I], R]
"""A picklable callable; opens files and models in its first call and keeps them open. Runs with one thread."""
Engine = Literal["local", "ray"]
ENGINES: tuple[str, ...] = ("local", "ray")


class WorkerLost(ShardError):
    """A worker process ended without raising an error: out of memory, or killed. Finished pieces are kept."""

    unfinished = True


def run(
    task: Task[I, R],
    items: Sequence[I],
    *,
    workers: int = 1,
    engine: str = "local",
    preload: Sequence[str] = (),
) -> Iterator[R]:
    """Run a task for every item.

    Args:
        task: see `Task`.
        items: picklable.
        workers: number of processes; 1 runs in this process. With Ray: concurrent tasks, 0 for one per core.
        engine: ``local`` for processes on this machine, ``ray`` for tasks of a Ray cluster (``RAY_ADDRESS``, or one
            that is started here). Its machines must share the folder and have this package installed.
        preload: modules of the task; local processes inherit them already imported, so that they start faster.

    Yields:
        Results in the order of the items. The error of an item is raised in place of its result.

    Raises:
        ConfigError: unknown engine, too few workers, or Ray is not installed.
        WorkerLost: a worker process ended unexpectedly.

    Example:
        >>> list(run(len, ["a", "bcd"]))
        [1, 3]
    """
    check(engine, workers)
    if engine == "ray":
        return _on_ray(task, items, workers)
    if workers == 1 or not items:
        # Lazy, as with processes: an item's error is raised in place of its result, after all earlier results.
        return (task(item) for item in items)
    return _in_processes(task, items, workers, preload)


def check(engine: str, workers: int) -> None:
    """Validate engine and number of workers before anything is loaded.

    Raises:
        ConfigError: an unknown engine, or too few workers.
    """
    if engine not in ENGINES:
        raise ConfigError(f"unknown engine {engine!r}, expected one of: {', '.join(ENGINES)}")
    if workers < (0 if engine == "ray" else 1):
        raise ConfigError(f"workers must be at least 1, got {workers}")


# ------------------------------------------------------------------------------------------------------ processes


def _in_processes(task: Task[I, R], items: Sequence[I], workers: int, preload: Sequence[str]) -> Iterator[R]:
    count = min(workers, len(items))
    # Creating the pool starts a Python (multiprocessing's resource tracker), and `map` starts the workers immediately.
    with without_working_folder():
        pool = ProcessPoolExecutor(
            max_workers=count, mp_context=_context(preload), initializer=_start, initargs=(task,)
        )
        results = pool.map(_call, items)
    try:
        yield from results
    except BrokenProcessPool as error:
        raise WorkerLost(
            "a worker process died (out of memory, or a script without `if __name__ == '__main__'`)",
            hint="use fewer --workers; finished work is kept",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _context(preload: Sequence[str]) -> BaseContext:
    """Context with new processes: a fork after torch has started threads can deadlock. A fork server imports once."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


# A task is sent to each worker once and not with every item: it may contain a dataset or an index.
_task: Any = None


def _start(task: Any) -> None:
    global _task
    _task = task
    left_to_the_parent()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent exits: a killed parent cannot stop its workers, which would wait for items indefinitely."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _call(item: Any) -> Any:
    _one_thread()
    return _task(item)


def _one_thread() -> None:
    # The workers already use all cores; more threads per worker would compete for them.
    import torch

    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


# ------------------------------------------------------------------------------------------------------------ Ray


def _on_ray(task: Task[I, R], items: Sequence[I], workers: int) -> Iterator[R]:
    try:
        import ray
    except ImportError as error:
        raise ConfigError("engine 'ray' needs the package ray", hint="pip install 'imu-video[ray]'") from error
    ours = not ray.is_initialized()
    if ours:
        with without_working_folder():
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        # Put into the object store once: a machine fetches the task once, however many items it processes.
        room = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        shared, token = ray.put(task), secrets.token_hex(8)
        remote = ray.remote(num_cpus=1, max_retries=1)(_entry(os.getcwd(), sys.path))
        waiting = []
        for item in items:
            # In a list, which Ray passes on as it is: a plain reference would be read before the function runs.
            waiting.append(remote.remote(token, [shared, ray.put(item)]))
            # Only as many tasks are submitted as can run, so that results do not accumulate in Ray's object store.
            if len(waiting) > room:
                yield _result(ray, waiting.pop(0))
        while waiting:
            yield _result(ray, waiting.pop(0))
    finally:
        if ours:
            ray.shutdown()


def _result(ray: Any, reference: Any) -> Any:
    try:
        value, error = ray.get(reference)
    except ray.exceptions.RayError as lost:
        raise WorkerLost(
            f"a Ray task was lost: {type(lost).__name__}", hint="run the command again; finished work is kept"
        ) from lost
    if error is not None:
        raise error
    return value


def _entry(working: str, searched: Sequence[str]) -> Callable[[str, Sequence[Any]], tuple[Any, Exception | None]]:
    """The function that Ray runs in its workers; it imports this package only after the working folder is ignored.

    Ray puts the working folder of the driver first on the module search path of its workers, whatever PYTHONSAFEPATH
    says. A user's ``random.py`` or ``imu_video.py`` there would be executed. The function is therefore nested: Ray
    sends nested functions as code, without an import of their module. Task and item arrive as references, which
    `_call_on_ray` reads.

    Args:
        working: working folder of this process.
        searched: module search path of this process; a working folder that it contains stays on that of the workers.
    """
    ignored = None if "" in searched or working in searched else working

    def call(token: str, references: Sequence[Any]) -> tuple[Any, Exception | None]:
        import sys

        sys.path[:] = [folder for folder in sys.path if folder != ignored]
        from imu_video.runtime.workers import _call_on_ray

        return _call_on_ray(token, references)

    return call


_tasks: dict[str, Any] = {}


def _call_on_ray(token: str, references: Sequence[Any]) -> tuple[Any, Exception | None]:
    """Run one item in a worker of the cluster, which keeps the task between items; errors are returned, not raised.

    Ray would wrap a raised error in a type of its own; a returned error keeps its type and hint.
    """
    import ray

    _one_thread()
    shared, item = references
    if token not in _tasks:
        _tasks.clear()
        _tasks[token] = ray.get(shared)
    try:
        return _tasks[token](ray.get(item)), None
    except Exception as error:
        return None, error
