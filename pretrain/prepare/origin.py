"""A finished run that is continued with more steps by a new run; an interrupted run is resumed by runs/folder.py.

The new run takes over model, optimiser, losses with their queues, and the data cursor. Its learning rate starts a new
schedule over the added steps, and its best checkpoint is chosen among its own, the first of which is the last of the
finished run. The finished run is only read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from imu_video.config import load_config, validate
from imu_video.errors import CheckpointError, ConfigError, ImuVideoError
from imu_video.runtime.documents import parse_yaml
from imu_video.runtime.files import file_sha256
from imu_video.shards.batches.plan import Plan
from pretrain.checkpoints.store import STATE, Checkpoint, CheckpointStore, read_state, step_of
from pretrain.config import ContinueSection, PretrainConfig
from pretrain.identity import differences
from pretrain.prepare.checks import steps_of
from pretrain.runs.folder import RunFolder

_MAY_CHANGE = (
    "optim.steps",
    "optim.epochs",
    "optim.lr",
    "optim.min_lr",
    "optim.warmup_fraction",
    "optim.decay",
    "optim.end",
    "optim.plateau",
    "continues",
)
"""Keys of the identity that a continuation may change; ``name`` and paths are in no identity."""


def continued(run: Path, overrides: Sequence[str], *, folder: Path | None = None) -> PretrainConfig:
    """The config of a run that continues a finished one.

    It is the config of the finished run without warm-up, with the overrides, and with ``continues`` filled in.

    Args:
        run: folder of the finished run.
        overrides: ``section.key=value``; at least the new ``optim.steps`` or ``optim.epochs``.
        folder: run folder of the continuation, if it is stated; used in messages only.

    Raises:
        CheckpointError: no run with a checkpoint, or a damaged one.
        ConfigError: an invalid override.
    """
    newest = _newest(run, lambda: _how_to_resume(run, folder))
    state = read_state(newest)["state"]
    section = ContinueSection(
        run=str(run),
        run_id=state["run_id"],
        step=step_of(newest.name),
        checkpoint=file_sha256(newest / STATE)[:16],
    )
    given = ["optim.warmup_fraction=0.0", *overrides, f"continues={section.model_dump_json()}"]
    return load_config(RunFolder(run).config_file, PretrainConfig, given)


def read_origin(section: ContinueSection, identity: Mapping[str, Any]) -> Checkpoint:
    """The state that a continuation starts from: the last checkpoint of the finished run.

    Args:
        section: names the run.
        identity: of the continuation.

    Raises:
        CheckpointError: the run is missing, or its checkpoint is another one than stated.
        ConfigError: a difference in anything but the length and the learning rate.
    """
    newest = _newest(
        Path(section.run), lambda: "if the finished run was moved: continues.run=FOLDER names its new place"
    )
    if step_of(newest.name) != section.step or file_sha256(newest / STATE)[:16] != section.checkpoint:
        raise CheckpointError(
            f"{section.run}: its last checkpoint is {newest.name}, which is not the one of step {section.step} that "
            "this run continues",
            hint=f"continue from the present one: imu-pretrain continue {section.run} optim.steps=...",
        )
    checkpoint = CheckpointStore(newest.parent).read(newest)
    changed = [
        line
        for line in differences(checkpoint.state["identity"], identity)
        if not any(line.partition(": ")[0] == key or line.startswith(f"{key}.") for key in _MAY_CHANGE)
    ]
    if changed:
        raise ConfigError(
            f"a continuation of {section.run} may change the length and the learning rate only; differences "
            "(finished -> now):\n    " + "\n    ".join(changed),
            hint="`imu-pretrain launch CONFIG init=ENCODER` starts a new run from the exported encoder",
        )
    progress = {**checkpoint.state["state"], "best": None, "plateau": None}
    return replace(checkpoint, state={**checkpoint.state, "state": progress})


def check_finished(origin: Checkpoint, section: ContinueSection, plan: Plan, *, per_epoch: int, steps: int) -> None:
    """Refuse a run that has steps of its own left, and a continuation without steps.

    Args:
        origin: from `read_origin`.
        section: names the run.
        plan: assignment of samples to batches, which is that of the finished run.
        per_epoch: batches of an epoch.
        steps: of the whole continuation, those of the finished run included.

    Raises:
        ConfigError: one or the other.
    """
    source = f"the config of {section.run}"
    optim = validate(parse_yaml(origin.state["config"], source), PretrainConfig, source=source).optim
    whole = steps_of(optim, batches=plan.steps(optim.epochs or 0), per_epoch=per_epoch)
    if section.step < whole:
        raise ConfigError(
            f"{section.run} is not finished: {section.step} of {whole} steps are done",
            hint=f"imu-pretrain launch {Path(section.run) / 'config.yaml'} --run {section.run}",
        )
    if steps <= section.step:
        raise ConfigError(
            f"{section.run} has done {section.step} steps, and the continuation ends at step {steps}: the length "
            "includes the steps of the finished run",
            hint=f"for as many steps again: optim.steps={2 * section.step}",
        )


def facts(origin: Checkpoint, section: ContinueSection) -> dict[str, Any]:
    """The finished run and what it continued itself, for lineage."""
    state = origin.state
    earlier = {"continues": state["continues"]} if "continues" in state else {}
    return {
        "run_id": state["run_id"],
        "recipe": state["recipe"],
        "step": section.step,
        "checkpoint": section.checkpoint,
        "optim": {k: v for k, v in state["identity"].items() if k.startswith("optim.")},
        **earlier,
    }


def _newest(run: Path, hint: Callable[[], str]) -> Path:
    newest = CheckpointStore(run / "checkpoints").newest()
    if newest is None:
        raise CheckpointError(f"{run}: no run with a checkpoint", hint=hint())
    return newest


def _how_to_resume(run: Path, folder: Path | None) -> str:
    """What to do without the finished run: a continuation that has a checkpoint of its own does not need it."""
    for made in [*([] if folder is None else [folder]), *sorted(Path("runs").glob("*"))]:
        with contextlib.suppress(ImuVideoError):
            section = load_config(made / "config.yaml", PretrainConfig).continues
            if section is None or Path(section.run).absolute() != run.absolute():
                continue
            launch = f"imu-pretrain launch {made / 'config.yaml'} --run {made}"
            if CheckpointStore(made / "checkpoints").newest() is None:
                return f"if the finished run was moved: {launch} continues.run=FOLDER"
            return f"{made} continues it and has a checkpoint of its own: {launch}"
    return "name the folder of a finished run, as `imu-pretrain launch` makes; if it was moved, its new place"
