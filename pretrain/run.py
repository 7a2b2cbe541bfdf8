"""One process's whole run, from config to trained weights; several processes are started by runs/launch.py."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from imu_video.errors import GuardStop
from imu_video.runtime.distributed import World
from pretrain.config import PretrainConfig
from pretrain.observe.reporter import Reporter, StopSignal
from pretrain.observe.trackers import open_trackers
from pretrain.prepare.prepare import Prepared, prepare
from pretrain.runs.folder import FolderLost, RunFolder
from pretrain.training.engine import Engine
from pretrain.training.state import TrainState


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of a run.

    Args:
        folder: the run folder.
        state: steps done and best validation.
        steps: steps of the whole run.
        stopped: what ended it before its last step (``SIGTERM``), or None.
    """

    folder: Path
    state: TrainState
    steps: int
    stopped: str | None


def run(
    config: PretrainConfig,
    *,
    folder: Path | None = None,
    resume: str = "auto",
    plugins: Sequence[str] = (),
    world: World | None = None,
) -> Outcome:
    """Train in this process; with several processes, each of them calls this.

    Every check (`prepare.prepare`) runs before the run folder is written.

    Args:
        config: as read.
        folder: run folder; None = ``runs/<name>-<run id>``.
        resume: ``auto``, ``never``, or a checkpoint or run folder.
        plugins: files that were loaded, noted in the run.
        world: rank, world size and local rank; None = from the environment.

    Raises:
        ConfigError, DataError: the request cannot be run.
        GuardStop: stopped by a guard.

    Example:
        >>> run(load_config("configs/pretrain/base.yaml", PretrainConfig, ["data.root=data/mine"]))  # doctest: +SKIP
    """
    with prepare(config, folder=folder, resume=resume, world=world) as prepared, contextlib.ExitStack() as stack:
        reporter = Reporter()
        if prepared.accelerator.is_main_process:
            stack.enter_context(prepared.folder.lock())
            reporter = begin(prepared, plugins)
        stack.callback(reporter.close)
        stop = stack.enter_context(StopSignal())
        engine = Engine(
            parts=prepared.parts,
            accelerator=prepared.accelerator,
            store=prepared.folder.store,
            reporter=reporter,
            stop=stop,
            lineage=prepared.lineage(),
        )
        if prepared.checkpoint is not None:
            engine.restore(prepared.checkpoint)
        try:
            state, steps = engine.fit(), prepared.parts.steps
            prepared.folder.check()
        except FolderLost as lost:
            raise rescue(prepared, engine, lost) from lost
    stopped = stop.received or "another process" if state.step < steps else None
    return Outcome(folder=prepared.folder.path, state=state, steps=steps, stopped=stopped)


def begin(prepared: Prepared, plugins: Sequence[str]) -> Reporter:
    """Write config and environment of a run that starts or continues, and open its trackers (rank 0 only).

    Args:
        prepared: the run.
        plugins: files that were loaded.
    """
    config, start = prepared.config, prepared.start
    left_out = prepared.parts.feed.loader.left_out
    facts: dict[str, object] = {"left_out": left_out} if left_out else {}
    facts |= {"processes": prepared.world.size, "device": str(prepared.accelerator.device)}
    facts |= {"threads": torch.get_num_threads(), "plugins": list(plugins), "from": str(start) if start else None}
    prepared.folder.begin(config, prepared.identity, facts, start=start)
    damaged = f"; {len(left_out)} damaged samples left out" if left_out else ""
    texts = prepared.texts
    if texts is not None:
        facts["texts"] = {split: texts.summary(split) for split in texts.codes}
    described = "" if texts is None else f"; {texts.summary(config.data.train_split)}"
    control = "" if config.data.control == "none" else f"; a control: {config.data.control}"
    done = prepared.checkpoint.state["state"]["step"] if prepared.checkpoint is not None else 0
    trackers = open_trackers(prepared.folder.path, config.run.tracker, start=done, check=prepared.folder.check)
    return Reporter(trackers, title=f"run {prepared.run_id} in {prepared.folder.path}" + control + described + damaged)


def rescue(prepared: Prepared, engine: Engine, lost: FolderLost) -> FolderLost:
    """Write the current state of a run whose folder is gone to a new run folder beside it; returns the error to raise.

    Args:
        prepared: the run.
        engine: holds the state.
        lost: the error that noticed it.
    """
    path, number = prepared.folder.path, 1
    while os.path.lexists(beside := path.with_name(f"{path.name}.rescued-{number}")):
        number += 1
    folder = RunFolder(beside)
    try:
        folder.begin(prepared.config, prepared.identity, {"rescued from": str(path)}, start=None)
        folder.store.write(engine.state.step, engine.checkpoint())
    except (OSError, GuardStop) as error:
        reason = error.message if isinstance(error, GuardStop) else error
        return FolderLost(f"{lost.message}; its state cannot be saved beside it: {reason}", hint="start it again")
    return FolderLost(
        f"{lost.message}; the state after step {engine.state.step} was saved to {beside}",
        hint=f"imu-pretrain launch {folder.config_file} --run {beside}",
    )
