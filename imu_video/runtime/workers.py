"""Run one task on many items: in this process, in several processes or on a Ray cluster; no specific tasks.

Results arrive in the order of the items. A task writes its output to a shared folder and returns little.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_all_start_methods, get_context, parent_process
from multiprocessing.context import BaseContext
from typing import Any, Literal, TypeVar

from imu_video.errors import ConfigError, ShardError
from imu_video.runtime.children import without_working_folder
from imu_video.runtime.native import ended_from_outside, signal_text
from imu_video.runtime.signals import left_to_the_parent

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")
Task = Callable[[I], R]
"""A picklable callable; opens files and models in its first call and keeps them open. Runs with one thread.

Local processes: where an item ends its process twice, ``task.after_death(item, part, reason)`` returns the task for a
third try, or raises the error of the item; ``part`` is what `working_on` named. Without it, `WorkerLost` is raised.
"""
logger = logging.getLogger(__name__)
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


def working_on(what: str) -> None:
    """Name the part of the item that this worker reads next, for the message if it dies; no-op in other processes."""
    if _pipe is not None:
        with suppress(OSError):  # the pool has stopped: this item is finished, and then the worker ends
            _pipe.send(("at", what))


def _in_processes(task: Task[I, R], items: Sequence[I], workers: int, preload: Sequence[str]) -> Iterator[R]:
    pool = _Pool(task, items, min(workers, len(items)), _context(preload))
    try:
        for index in range(len(items)):
            yield pool.result(index)
    finally:
        pool.stop()


@dataclass
class _Worker:
    """One process; ``index`` is the item it works on, ``at`` the part of that item (`working_on`)."""

    process: Any
    pipe: Any
    index: int | None = None
    at: str = ""
    alone: bool = False


class _Pool:
    """Processes that work on items in order, one each at a time; a thread of this process hands the items out.

    A process that dies takes nothing with it but its item, which a new process repeats when no other one works: that
    finds out whether memory was short. If it dies again, the task decides (`after_death`), or the pool fails.
    """

    def __init__(self, task: Any, items: Sequence[Any], count: int, context: BaseContext) -> None:
        self._items, self._count, self._context = items, count, context
        self._tasks: dict[int, Any] = {}  # of items whose worker died twice: what the task made of that
        self._task = task
        self._waiting = deque(range(len(items)))
        self._again: deque[int] = deque()  # items whose worker died, each to be repeated alone
        self._deaths: Counter[int] = Counter()
        self._done: dict[int, tuple[bool, Any]] = {}
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._wake, self._woken = context.Pipe(duplex=False)
        self._workers: list[_Worker] = []
        _pools.add(self)
        self._thread = threading.Thread(target=self._run, name="workers", daemon=True)
        self._thread.start()

    def result(self, index: int) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: index in self._done or self._failure is not None)
            if index not in self._done:
                assert self._failure is not None
                raise self._failure
            fine, value = self._done.pop(index)
        if not fine:
            raise value
        return value

    def stop(self) -> None:
        """End all workers, each after its item."""
        _pools.discard(self)
        with suppress(OSError):
            self._woken.send(None)
        self._thread.join()

    # What follows runs in the thread.

    def _run(self) -> None:
        try:
            while self._follow():
                pass
        except BaseException as error:
            self._tell(failure=error)
        for worker in self._workers:
            _end(worker)

    def _follow(self) -> bool:
        """Hand out items and wait for one event; False at the end."""
        self._hand_out()
        pipes = {worker.pipe: worker for worker in self._workers}
        for ready in connection.wait([self._wake, *pipes]):
            if ready is self._wake:
                return False
            worker = pipes[ready]
            try:
                kind, value = worker.pipe.recv()
            except (EOFError, OSError):
                self._dead(worker)
                continue
            if kind == "at":
                worker.at = value
            else:
                assert worker.index is not None
                self._tell(worker.index, (kind == "result", value))
                worker.index = None
        return True

    def _hand_out(self) -> None:
        idle = [worker for worker in self._workers if worker.index is None]
        if self._again:
            if len(idle) == len(self._workers):
                index = self._again.popleft()
                for worker in idle:  # the item gets a process of its own, and their memory
                    self._workers.remove(worker)
                    _end(worker)
                self._give(self._new(self._tasks.get(index, self._task)), index, alone=index in self._tasks)
            return
        while self._waiting and (idle or len(self._workers) < self._count):
            worker = idle.pop() if idle else self._new(self._task)
            if worker.alone:
                self._workers.remove(worker)
                _end(worker)
                continue
            self._give(worker, self._waiting.popleft())

    def _new(self, task: Any) -> _Worker:
        ours, theirs = self._context.Pipe()
        # The first process starts further Pythons (fork server, resource tracker).
        with without_working_folder():
            process: Any = self._context.Process(target=_work, args=(theirs,), daemon=False)  # type: ignore[attr-defined]
            process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        with suppress(OSError):  # one that died at once is found by its closed pipe
            ours.send(task)
        return worker

    def _give(self, worker: _Worker, index: int, *, alone: bool = False) -> None:
        worker.index, worker.at, worker.alone = index, "", alone
        with suppress(OSError):
            worker.pipe.send((index, self._items[index]))

    def _dead(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.process.join()
        worker.pipe.close()
        code, index = worker.process.exitcode or 0, worker.index
        if index is None:
            return  # ended between two items
        item = repr(self._items[index])
        what = f"item {item if len(item) < 80 else index}" + (f", {worker.at}" if worker.at else "")
        reason = signal_text(-code if code < 0 else 0)
        self._deaths[index] += 1
        if code >= 0 and not worker.at and self._deaths[index] > 1:
            raise WorkerLost(
                f"a worker process died with exit code {code} at {what}"
                " (a script without `if __name__ == '__main__'`, or out of memory)",
                hint="run with --workers 1 to see why; finished work is kept",
            )
        if self._deaths[index] > 1:
            changed = getattr(self._task, "after_death", None)
            by_itself = code < 0 and not ended_from_outside(-code)
            if changed is None or not worker.at or not by_itself:
                raise WorkerLost(
                    f"a worker process died twice at {what}: {reason}"
                    + ("" if by_itself else " (out of memory, or killed)"),
                    hint="look at that item" if by_itself else "use fewer --workers; finished work is kept",
                )
            try:
                task = self._tasks.get(index, self._task)
                self._tasks[index] = task.after_death(self._items[index], worker.at, reason)
            except Exception as error:
                self._tell(index, (False, error))
                return
        logger.warning("a worker process was %s at %s: repeated alone in a new process", reason, what)
        self._again.append(index)

    def _tell(self, index: int = -1, done: Any = None, failure: BaseException | None = None) -> None:
        with self._changed:
            if failure is None:
                self._done[index] = done
            else:
                self._failure = failure
            self._changed.notify_all()


_pools: set[_Pool] = set()


@atexit.register
def _stop_pools() -> None:
    """Before multiprocessing waits for the workers, which would wait for items indefinitely."""
    for pool in list(_pools):
        pool.stop()


def _end(worker: _Worker) -> None:
    """End a worker after the item it works on, which is finished work when the job continues."""
    worker.pipe.close()
    worker.process.join()


def _context(preload: Sequence[str]) -> BaseContext:
    """Context with new processes: a fork after torch has started threads can deadlock. A fork server imports once."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


_pipe: Any = None


def _work(pipe: Any) -> None:
    """Body of a worker: it receives its task once and not with every item, as that may hold a dataset or an index."""
    global _pipe
    left_to_the_parent()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        task = pipe.recv()
        _pipe = pipe
        while True:
            index, item = pipe.recv()
            _one_thread()
            try:
                answer = ("result", task(item))
            except Exception as error:
                answer = ("error", error)
            _answer(pipe, answer, index)
    except (EOFError, OSError):
        os._exit(0)  # the pool has stopped


def _answer(pipe: Any, answer: tuple[str, Any], index: int) -> None:
    try:
        pipe.send(answer)
    except OSError:
        raise
    except Exception as error:  # cannot be pickled
        kind, value = answer
        pipe.send(("error", RuntimeError(f"{kind} of item {index} cannot be sent: {error}: {value!r:.200}")))


def _end_with_parent() -> None:
    """Exit when the parent exits: a killed parent cannot stop its workers, which would wait for items indefinitely."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


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
