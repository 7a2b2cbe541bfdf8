"""One process's whole run, from config to trained weights; starting several processes is launch.py's."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from imu_video.bundle.encoder import InputSpec
from imu_video.config import dump_yaml
from imu_video.runtime.distributed import World
from pretrain.config import LIVE_TEACHER, NO_TEACHER, PretrainConfig, check_processes, identity, resolve, run_id
from pretrain.observe.reporter import Reporter, StopSignal
from pretrain.observe.trackers import open_trackers
from pretrain.prepare.build import build_parts, describe_teacher
from pretrain.prepare.checks import (
    check_disk,
    check_encoder,
    check_losses,
    check_splits,
    check_worn_together,
    device_for,
    precision_for,
)
from pretrain.prepare.data import Data, fit_spec, open_data
from pretrain.prepare.needs import needs_of
from pretrain.runs.folder import RunFolder, describe_machine
from pretrain.training.engine import Engine
from pretrain.training.state import TrainState


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended.

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
    """Train in this process; with several, every one of them calls this.

    All that can be wrong with the request is found before anything is written.

    Args:
        config: as read.
        folder: run folder; None = ``runs/<name>-<run id>``.
        resume: ``auto``, ``never``, or a checkpoint or run folder.
        plugins: files that were loaded, to be noted in the run.
        world: rank, world size and local rank; None = from the environment.

    Raises:
        ConfigError, DataError: the request cannot be run.
        GuardStop: stopped by a guard.

    Example:
        >>> run(load_config("configs/pretrain/base.yaml", PretrainConfig, ["data.root=data/mine"]))  # doctest: +SKIP
    """
    world = world or World.from_environment()
    check_processes(config, world.size)
    data = open_data(config)
    check_splits(config, data)
    device = device_for(config.run, local_rank=world.local_rank)
    precision = precision_for(config.run, device)
    needs = needs_of(config)
    config = resolve(
        config,
        channels=len(data.index.channels),
        samples=data.index.samples_per_window,
        joints=data.joints,
        teacher=LIVE_TEACHER if data.live else NO_TEACHER if data.teacher is None else data.teacher.fingerprint,
        teacher_dim=data.teacher_dim(config.data.train_split),
        precision=precision,
        paired="video" in needs.pair,
    )
    check_encoder(config, data)
    check_losses(config, data)
    same = identity(config, data=data.digest)
    run_folder = RunFolder(folder or Path("runs") / f"{config.name}-{run_id(same)}", keep=config.run.keep)
    start = run_folder.find_start(resume, same)
    if config.run.threads is not None:
        torch.set_num_threads(config.run.threads)
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="bf16" if precision == "bf16" else "no",
        device_placement=True,
        # Where only segments are aligned, the projector of whole windows has no part in the loss.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters="segments" in needs.pair)],
    )
    with contextlib.ExitStack() as stack:
        stack.callback(_leave, accelerator)
        accelerator.wait_for_everyone()  # nobody writes before everybody has looked
        with accelerator.main_process_first():
            for split in filter(None, (config.data.train_split, config.data.val_split)):
                data.columns(split)
        checkpoint = run_folder.store.read(start) if start is not None else None
        spec = InputSpec(**checkpoint.state["input"]) if checkpoint is not None else fit_spec(config, data)
        parts = build_parts(config, data, spec=spec, world=world, device=accelerator.device)
        stack.callback(parts.feed.close)
        if needs.devices:
            pool, usable = parts.feed.loader.pool, parts.feed.loader.usable
            present = (pool.present & pool.allowed(config.data.placements))[usable]
            check_worn_together(present, split=config.data.train_split)
            if parts.task.loss is not None:
                parts.task.loss.check_devices(torch.from_numpy(present))
        reporter = Reporter()
        if accelerator.is_main_process:
            check_disk(
                run_folder.path, parameters=sum(p.numel() for p in parts.task.parameters()), keep=config.run.keep
            )
            stack.enter_context(run_folder.lock())
            left_out = parts.feed.loader.left_out
            facts: dict[str, object] = {"left_out": left_out} if left_out else {}
            facts |= {"processes": world.size, "device": str(accelerator.device), "threads": torch.get_num_threads()}
            run_folder.begin(config, same, {**facts, "plugins": list(plugins), "from": str(start) if start else None})
            damaged = f"; {len(left_out)} damaged samples left out" if left_out else ""
            control = "" if config.data.control == "none" else f"; a control: {config.data.control}"
            begun = checkpoint.state["state"]["step"] if checkpoint is not None else 0
            trackers = open_trackers(run_folder.path, config.run.tracker, start=begun)
            reporter = Reporter(trackers, title=f"run {run_id(same)} in {run_folder.path}" + control + damaged)
        stack.callback(reporter.close)
        stop = stack.enter_context(StopSignal())
        engine = Engine(
            parts=parts,
            accelerator=accelerator,
            store=run_folder.store,
            reporter=reporter,
            stop=stop,
            lineage=_lineage(config, data, spec, same, world),
        )
        if checkpoint is not None:
            engine.restore(checkpoint)
        state = engine.fit()
    stopped = stop.received or "another process" if state.step < parts.steps else None
    return Outcome(folder=run_folder.path, state=state, steps=parts.steps, stopped=stopped)


def _lineage(config: PretrainConfig, data: Data, spec: InputSpec, same: dict[str, Any], world: World) -> dict[str, Any]:
    """What every checkpoint carries, so that it can be continued and exported without guessing."""
    return {
        "run_id": run_id(same),
        "recipe": config.name,
        "identity": same,
        "config": dump_yaml(config),
        "control": config.data.control,
        "input": spec.model_dump(mode="json"),
        "teacher": describe_teacher(data),
        "data": data.facts(),
        "processes": world.size,
        "machine": describe_machine(),
    }


def _leave(accelerator: Accelerator) -> None:
    """Close the process group and forget accelerate's global state, so that a process may train again."""
    accelerator.end_training()
    AcceleratorState._reset_state(reset_partial_state=True)
