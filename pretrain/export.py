"""Export of a checkpoint as an encoder folder with its lineage, verified by reloading; nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from imu_video.bundle.encoder import EncoderBundle, InputSpec, load_encoder
from imu_video.config import read_yaml, validate
from imu_video.errors import CheckpointError, ParityError, ShardError, nearest
from imu_video.models.cross_modal import TEACHER
from imu_video.models.projectors import save_projectors
from imu_video.runtime.documents import parse_yaml
from imu_video.runtime.files import temporary_folder
from imu_video.shards.reading.columns import Columns, open_columns
from imu_video.shards.reading.index import load_index
from imu_video.sides import TowerBundle
from imu_video.types import JsonDict
from pretrain.checkpoints.store import Checkpoint, CheckpointStore, step_of
from pretrain.config import NO_TEACHER, PretrainConfig
from pretrain.identity import differences, identity
from pretrain.prepare.components import Components
from pretrain.prepare.prepare import build_task
from pretrain.runs.folder import RunFolder
from pretrain.training.task import PretrainTask

TOLERANCE = 1e-6
"""Largest allowed absolute difference between a feature of the student and of the exported encoder."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Result of an export.

    Args:
        folder: the encoder folder.
        step: step of the checkpoint.
        windows: number of windows compared.
        difference: largest absolute difference of a feature.
    """

    folder: Path
    step: int
    windows: int
    difference: float


def export(
    run: Path,
    out: Path,
    *,
    checkpoint: str = "best",
    data: Path | None = None,
    force: bool = False,
    windows: int = 256,
    with_side: str | None = None,
) -> Exported:
    """Write the student of a checkpoint as an encoder folder.

    A draft is first written beside ``out``, reloaded, and compared with the student in memory on windows of the
    validation split (the training split in a run without validation); only then ``out`` is written.

    Args:
        run: run folder.
        out: encoder folder to write.
        checkpoint: ``best`` (``latest`` in a run without validation), ``latest`` or a step number.
        data: data folder, if it was moved after training.
        force: replace an existing encoder folder.
        windows: maximum number of windows to compare.
        with_side: modality whose jointly trained encoder is also written, to ``out/<modality>``.

    Raises:
        CheckpointError: no such run or checkpoint, ``out`` is another folder, or ``with_side`` was not trained.
        ShardError: the data folder is missing, or is not the one of the run.
        ParityError: the exported encoder does not reproduce the student; ``out`` is not written.
    """
    folder = RunFolder(run)
    if not folder.holds_run:
        raise CheckpointError(f"{run} is not a run folder (no config.yaml)", hint="`imu-pretrain launch` makes one")
    saved = _read(folder.store, checkpoint)
    config = _config(folder, saved)
    task = restore_task(config, saved)
    trained = task.model.networks
    if with_side is not None and with_side not in trained:
        raise CheckpointError(
            f"{run} trained no {with_side} encoder{nearest(with_side, trained)}",
            hint="train with a tower, or omit the option" if not trained else f"--with-side {next(iter(trained))}",
        )
    _check_code(config, saved, with_side)
    columns = _columns(config, saved, data)
    bundle: EncoderBundle = task.model.student.eval()
    if task.objective is not None and "text" in saved.state:
        bundle.text = task.objective.text_head(bundle, saved.state["text"])
    lineage = lineage_of(saved)
    with temporary_folder(out) as temporary:
        draft = temporary / out.name
        bundle.save(draft, lineage=lineage)
        compared, difference = compare(bundle, load_encoder(draft), columns, windows=windows)
    if not difference <= TOLERANCE:  # written so that NaN fails, too
        raise ParityError(
            f"the exported encoder differs from the student by up to {difference:.3g} on {compared} windows "
            f"(allowed {TOLERANCE:g}); nothing was written to {out}",
            hint="an encoder with state outside its state dict cannot be exported; register buffers",
        )
    bundle.save(out, lineage=lineage, force=force)
    if TEACHER in task.model.sides and task.model.teacher.projector is not None:
        save_projectors(task.model, out, teacher=saved.state["teacher"]["fingerprint"])
    if with_side is not None:
        assert config.tower is not None  # a model without a tower has no such networks
        beside = TowerBundle(config.tower)
        beside.tower.load_state_dict(trained[with_side].state_dict())
        beside.save(out / with_side, lineage=lineage)
    return Exported(folder=out, step=int(saved.state["state"]["step"]), windows=compared, difference=difference)


def _read(store: CheckpointStore, which: str) -> Checkpoint:
    """The checkpoint to export, beside a run that may be training."""
    if which == "best" and store.pointer("best") is None:
        _, newest = store.load("latest", optimizer=False)
        if newest.state["state"]["best"] is None:  # nothing has been validated
            return newest
    try:
        return store.load(which, optimizer=False)[1]
    except CheckpointError as error:
        complete = store.newest_complete()
        hint = f"--checkpoint {step_of(complete.name)} is complete" if complete is not None else error.hint
        raise CheckpointError(error.message, hint=hint) from error


def _config(folder: RunFolder, saved: Checkpoint) -> PretrainConfig:
    """The config of a run; that of the checkpoint where config.yaml was lost."""
    source = str(folder.config_file)
    if folder.config_file.is_file():
        return validate(read_yaml(folder.config_file, strict=False), PretrainConfig, source=source)
    return validate(parse_yaml(saved.state["config"], source), PretrainConfig, source=source)


def restore_task(config: PretrainConfig, checkpoint: Checkpoint) -> PretrainTask:
    """Model and losses with a checkpoint's weights, without data or teacher.

    Raises:
        CheckpointError: the weights do not fit the config.
    """
    spec = InputSpec(**checkpoint.state["input"])
    mean = checkpoint.model.get(f"model.sides.{TEACHER}.mean")
    teacher_dim = None if mean is None else len(mean)
    # Building draws initial weights: exporting must not move the generator of a process that trains on.
    with torch.random.fork_rng(devices=[]):
        components = Components.of(config)
        student = EncoderBundle(spec=spec, encoder=components.encoder)
        task = build_task(config, components, student=student, teacher_dim=teacher_dim)
    try:
        task.load_state_dict(checkpoint.model)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint does not fit its config: {error}") from error
    return task


def _check_code(config: PretrainConfig, saved: Checkpoint, with_side: str | None) -> None:
    """Refuse networks whose plugin was edited after training: they would not compute the features that were trained.

    Raises:
        CheckpointError: a plugin differs from the one that the run was trained with.
    """
    now, before = identity(config, data="", code=Components.of(config).code()), saved.state["identity"]
    kinds = ("code (encoder", "code (tower", "code (modality") if with_side is not None else ("code (encoder",)
    changed = [line for line in differences(before, now) if line.startswith(kinds)]
    if changed:
        raise CheckpointError(
            f"a plugin was edited after the run: {'; '.join(changed)}", hint="restore the plugin as it was in training"
        )


def compare(student: EncoderBundle, other: EncoderBundle, columns: Columns, *, windows: int) -> tuple[int, float]:
    """Number of real windows compared and the largest difference of a feature between two encoders.

    Args:
        student: encoder in memory.
        other: reloaded encoder.
        columns: windows to compare, evenly spaced over rows and devices.
        windows: maximum number of windows.
    """
    rows, devices = np.nonzero(columns.present)
    chosen = np.linspace(0, len(rows) - 1, min(windows, len(rows))).round().astype(int)
    picked = np.stack([columns.imu[rows[i], devices[i]] for i in chosen])
    ours, theirs = (e.encode(picked, rate_hz=columns.rate_hz, channels=columns.channels) for e in (student, other))
    return len(picked), float(np.abs(ours - theirs).max())


def lineage_of(checkpoint: Checkpoint) -> JsonDict:
    """Lineage of the weights: the facts of the model card."""
    state = checkpoint.state
    data, teacher, best = state["data"], dict(state["teacher"]), state["state"]["best"]
    fingerprint = teacher.pop("fingerprint")
    licence = "no teacher" if fingerprint == NO_TEACHER else teacher.get("licence", "not stated")
    return {
        "run_id": state["run_id"],
        "recipe": state["recipe"],
        **{key: state[key] for key in ("continues", "init") if key in state},
        **({} if state["control"] == "none" else {"control": state["control"]}),
        "config": {key: value for key, value in state["identity"].items() if not key.startswith("data (")},
        "steps": state["state"]["step"],
        "validation": {f"best {best['rule']}": best["value"], "at step": best["step"]} if best else "none",
        "dataset": {key: data[key] for key in ("dataset", "digest", "citation", "subjects")},
        "teacher": {"fingerprint": fingerprint, "description": teacher},
        **({"text encoder": _text_lineage(state["text"])} if "text" in state else {}),
        "processes": state["processes"],
        "versions": state["machine"]["versions"],
        "commit": state["machine"]["commit"],
        "licences": {"recordings": data["licence"], "teacher": licence, **_initial_licences(state.get("init"))},
    }


def _initial_licences(init: JsonDict | None) -> JsonDict:
    """Terms of the data behind the initial weights, which hold for what was trained from them."""
    if init is None:
        return {}
    return {"initial weights": init["lineage"].get("licences", "not stated")}


def _text_lineage(facts: JsonDict) -> JsonDict:
    """What the card shows about texts; their names are in the section of the text head."""
    shown = {key: facts[key] for key in ("encoder", "fingerprint", "templates", "windows")}
    return {**shown, "texts": len(facts["texts"])}


def _columns(config: PretrainConfig, checkpoint: Checkpoint, data: Path | None) -> Columns:
    section = config.data
    index = load_index(data if data is not None else section.folders[0].root, check_shards=section.errors == "raise")
    expected = checkpoint.state["data"]["digest"].split("+")[0]  # of the first folder
    if index.digest != expected:
        raise ShardError(
            f"{index.root}: digest {index.digest}, the run was trained on {expected}",
            hint="pass the folder of the run with --data",
        )
    return open_columns(index, section.val_split or section.train_split, errors=section.errors)
