"""People's recordings into encoded samples, in one process or several; who belongs to which split is for build.py."""

from __future__ import annotations

import secrets
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from imu_video.errors import LeakageError, RecordingError, ShardError
from imu_video.protocols import RecordingSource
from imu_video.recordings.windows import WindowConfig, cut, window_count
from imu_video.registry import datasets, load_plugin
from imu_video.shards.schema import ShardEntry
from imu_video.shards.write import EncodedSample, TarFile, encode_window
from imu_video.types import Recording, Window


@dataclass
class Tally:
    """What a build counts; adding tallies in any order gives the same sum."""

    recordings: list[str] = field(default_factory=list)
    empty_recordings: int = 0
    kept: int = 0
    windows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    without: Counter[str] = field(default_factory=Counter)
    placements: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)
    tags: dict[str, set[str]] = field(default_factory=dict)
    clip: tuple[int, ...] | None = None
    views: dict[str, tuple[int, ...]] = field(default_factory=dict)
    with_view: Counter[str] = field(default_factory=Counter)
    joints: tuple[str, ...] | None = None
    skeleton: tuple[int, ...] | None = None

    def take(self, window: Window, joints: tuple[str, ...] | None) -> None:
        """Count one kept window.

        Raises:
            RecordingError: a clip or skeleton of another shape than before.
        """
        self.kept += 1
        self.placements.update(window.imu)
        self.labels.update([window.label] if window.label is not None else [])
        for tag, value in window.tags.items():
            self.tags.setdefault(tag, set()).add(value)
        missing = {"clip": window.clip is None, "skeleton": window.skeleton is None, "label": window.label is None}
        self.without += Counter({what: int(lacks) for what, lacks in missing.items()})  # zeros are forgotten
        where = f"recording {window.recording!r}"
        if window.clip is not None:
            self.clip = _same(self.clip, window.clip.shape[:3], f"{where}: clip (F, H, W)")
        for view, clip in window.views.items():
            self.with_view[view] += 1
            self.views[view] = _same(self.views.get(view), clip.shape[:3], f"{where}: view {view!r} (F, H, W)")
        if window.skeleton is not None:
            self.skeleton = _same(self.skeleton, window.skeleton.shape[:2], f"{where}: skeleton (F, J)")
            self.joints = _same(self.joints, joints, f"{where}: joints")

    def add(self, other: Tally) -> None:
        """Add another tally.

        Raises:
            LeakageError: a recording name that both have.
            RecordingError: clips or skeletons of another shape.
        """
        twice = set(self.recordings) & set(other.recordings)
        if twice:
            raise LeakageError(
                f"recording {min(twice)!r} occurs for two people",
                hint="recording names are unique within a dataset",
            )
        self.recordings += other.recordings
        self.empty_recordings += other.empty_recordings
        self.kept += other.kept
        self.windows += other.windows
        self.dropped += other.dropped
        self.without += other.without
        self.placements |= other.placements
        self.labels |= other.labels
        for tag, values in other.tags.items():
            self.tags.setdefault(tag, set()).update(values)
        where = f"recording {other.recordings[0]!r}" if other.recordings else ""
        self.clip = _same(self.clip, other.clip, f"{where}: clip (F, H, W)")
        self.with_view += other.with_view
        for view, shape in other.views.items():
            self.views[view] = _same(self.views.get(view), shape, f"{where}: view {view!r} (F, H, W)")
        self.skeleton = _same(self.skeleton, other.skeleton, f"{where}: skeleton (F, J)")
        self.joints = _same(self.joints, other.joints, f"{where}: joints")


def _same(old: Any, new: Any, what: str) -> Any:
    if old is not None and new is not None and old != new:
        raise RecordingError(f"{what} is {new}, other recordings have {old}", hint="build them into separate folders")
    return new if old is None else old


def _encode_person(
    source: RecordingSource, subject: str, window: WindowConfig, tally: Tally
) -> Iterator[EncodedSample]:
    for recording in source.recordings([subject]):
        if recording.subject != subject:
            raise LeakageError(
                f"recording {recording.name!r} of subject {recording.subject!r} came when {subject!r} was asked for",
                hint="the dataset's recordings(subjects) must honour its argument",
            )
        if recording.name in tally.recordings:
            raise RecordingError(f"recording {recording.name!r} occurs twice; names are unique within a dataset")
        tally.recordings.append(recording.name)
        yield from _encode_recording(recording, window, tally)


def _encode_recording(recording: Recording, config: WindowConfig, tally: Tally) -> Iterator[EncodedSample]:
    considered, before = window_count(recording, config), tally.kept
    joints = recording.skeleton.names if recording.skeleton is not None else None
    for window in cut(recording, config):
        tally.take(window, joints)
        yield encode_window(window, dataset=recording.dataset, clip_fps=config.clip_fps)
    tally.windows += considered
    tally.empty_recordings += considered == 0
    tally.dropped += Counter({"no device measured enough": considered - (tally.kept - before)})


Encode = Callable[[Sequence[str]], Iterator[tuple[Iterator[EncodedSample], Tally]]]
"""From people to each one's samples, with a tally that is complete when the samples are used up."""


@contextmanager
def encoders(
    dataset: Mapping[str, Any],
    seed: int,
    window: WindowConfig,
    *,
    parts: Path,
    workers: int,
    plugins: Sequence[str | Path],
) -> Iterator[Encode]:
    """A function that encodes people one after the other, or several at once with the results in order.

    Args:
        dataset: registered name and arguments, as in the config.
        seed: for datasets that take one and were given none.
        window: how recordings are cut.
        parts: folder for what workers have encoded and nobody has collected yet; removed at the end.
        workers: processes; 1 encodes here.
        plugins: files that every worker imports first.

    Raises:
        ShardError: a worker died.
    """
    if workers == 1:
        source: RecordingSource = datasets.build(dataset, seed=seed)

        def here(people: Sequence[str]) -> Iterator[tuple[Iterator[EncodedSample], Tally]]:
            for subject in people:
                tally = Tally()
                yield _encode_person(source, subject, window, tally), tally

        yield here
        return
    parts.mkdir()
    pool = ProcessPoolExecutor(
        max_workers=workers,
        mp_context=_context(),
        initializer=_start_worker,
        initargs=(_Job(dict(dataset), seed, window, tuple(str(p) for p in plugins), parts),),
    )

    def pooled(people: Sequence[str]) -> Iterator[tuple[Iterator[EncodedSample], Tally]]:
        for entry, tally in pool.map(_work, people):
            yield _read_part(parts, entry), tally

    try:
        yield pooled
    except BrokenProcessPool as error:
        raise ShardError(
            "a build worker died (out of memory, or a script without `if __name__ == '__main__'`)",
            hint="use fewer --workers",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
        shutil.rmtree(parts, ignore_errors=True)


def _context() -> BaseContext:
    """Fresh processes: forking this one after torch has started threads can hang. A fork server imports only once."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, "imu_video.datasets"])
    return context


@dataclass
class _Job:
    """What a worker process needs; the dataset is opened at the first person, so that its errors travel back."""

    dataset: dict[str, Any]
    seed: int
    window: WindowConfig
    plugins: tuple[str, ...]
    parts: Path
    source: RecordingSource | None = None


_job: _Job | None = None


def _start_worker(job: _Job) -> None:
    global _job
    _job = job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle


def _work(subject: str) -> tuple[ShardEntry | None, Tally]:
    """Encode one person into a part file."""
    if _job is None:
        raise RuntimeError("worker was not started")
    if _job.source is None:
        import torch

        torch.set_num_threads(1)
        for plugin in _job.plugins:
            load_plugin(plugin)
        _job.source = datasets.build(_job.dataset, seed=_job.seed)
    tally = Tally()
    tar = TarFile(_job.parts / f"part-{secrets.token_hex(8)}.tar")
    try:
        for sample in _encode_person(_job.source, subject, _job.window, tally):
            tar.add(sample)
        return (tar.close() if tar.keys else None), tally
    finally:
        tar.discard()


def _read_part(parts: Path, entry: ShardEntry | None) -> Iterator[EncodedSample]:
    if entry is None:
        return
    path = parts / Path(entry.path).name
    with path.open("rb") as file:
        for key, members in entry.keys.items():
            data = {}
            for suffix, (offset, size) in members.items():
                file.seek(offset)
                data[suffix] = file.read(size)
            yield EncodedSample(key=key, members=data)
    path.unlink()
