"""The pretraining config: its sections, its resolved form and the identity of a run; no component is built here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from imu_video.config import Config, Fragment, digest
from imu_video.optim.schedule import Decay
from imu_video.shards.batches.loader import Pairs


def _named(entry: Any) -> Any:
    return {"name": entry} if isinstance(entry, str) else entry


def _has_name(entry: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(entry.get("name"), str):
        raise ValueError("a component entry needs a 'name'; `imu-video list` shows what exists")
    return entry


Component = Annotated[dict[str, Any], BeforeValidator(_named), AfterValidator(_has_name), Fragment()]
"""``{name: ..., argument: value, ...}`` of a component, its name alone, or the path of a YAML file with it."""


DIM = 128
"""Embedding width D where nothing else is asked for."""

NO_TEACHER = "none"
"""``data.teacher`` of a run without one."""

LIVE_TEACHER = "live"
"""``data.teacher`` of a run whose teacher computes its features while training."""


CONTROLS: dict[str, Pairs] = {"none": "true", "permuted_pairs": "permuted", "redrawn_pairs": "redrawn"}
"""``data.control`` and the loader's word for it; what a control learns cannot come from the right pairs."""


class DataFolder(Config):
    """One of several data folders.

    Args:
        root: the folder.
        weight: its share (see `DataSection.root`).
    """

    root: str
    weight: float | None = Field(default=None, gt=0)


class DataSection(Config):
    """Which pairs are trained on.

    Args:
        root: data folder that `imu-video build` and `imu-video embed` made, or several to be mixed: a list of
            ``{root: ..., weight: ...}``. Without weights an epoch is one pass over all; with weights it is one pass
            over the first, and the others have ``weight / first weight`` times as many windows in it.
        train_split: split that is trained on.
        val_split: split of other people for validation and the choice of the best checkpoint; null = no validation.
        placements: devices to draw from; null = all. Each window shows one device a step.
        teacher: the cached teacher: its name where only one of that name is there, or the beginning of its
            fingerprint; null = the only one there, or ``none`` where nothing needs one; ``none`` = train without;
            ``live`` = computed from the clips while training.
        live_teacher: the registered teacher that runs with ``teacher: live``.
        clip_augment: registered changes of clips, in training only; need ``teacher: live``.
        workers: threads that decode clips for a live teacher.
        batch_size: windows of one global batch, all processes together.
        sampling: ``once``: every window once an epoch; ``replacement``: each batch drawn anew by weight.
        leftover: what happens to windows that do not fill an epoch's last batch: ``drop``, others in each epoch;
            ``carry``, they begin the next epoch.
        balance: with ``replacement``: the same chance for every ``subject`` or ``recording`` of a folder.
        errors: damaged samples: ``raise``, ``skip`` (leave out), ``quarantine`` (leave out and list beside the data).
        control: in training, every window goes with the teacher's features (skeleton, clip) of another one, drawn by
            the seed: ``permuted_pairs`` once for the whole run, which still tells windows from each other;
            ``redrawn_pairs`` in each epoch, which tells nothing. What such runs gain does not come from the pairs.
    """

    root: str | tuple[DataFolder, ...]
    train_split: str = "train"
    val_split: str | None = "val"
    placements: tuple[str, ...] | None = None
    teacher: str | None = None
    live_teacher: Component | None = None
    clip_augment: tuple[Component, ...] = ()
    workers: int = Field(default=2, ge=0)
    batch_size: int = Field(default=128, ge=2)
    sampling: Literal["once", "replacement"] = "once"
    leftover: Literal["drop", "carry"] = "drop"
    balance: Literal["none", "subject", "recording"] = "none"
    errors: Literal["raise", "skip", "quarantine"] = "raise"
    control: Literal["none", "permuted_pairs", "redrawn_pairs"] = "none"

    @model_validator(mode="after")
    def _folders(self) -> DataSection:
        weights = [folder.weight for folder in self.folders]
        if not weights or (None in weights and any(weights)):
            raise ValueError(f"root: give a weight to every folder or to none, got {weights}")
        if len({folder.root for folder in self.folders}) < len(weights):
            raise ValueError(f"root: a folder occurs twice in {[folder.root for folder in self.folders]}")
        return self

    @property
    def folders(self) -> tuple[DataFolder, ...]:
        """The folders of ``root``."""
        return (DataFolder(root=self.root),) if isinstance(self.root, str) else self.root


class ProjectorSection(Config):
    """Heads between features and embeddings; they are dropped at export.

    Args:
        dim: embedding width D; null = 128, or with ``teacher: none`` the width of the teacher's features.
        dropout: rate inside the heads, 0 <= rate < 1.
        head: ``residual`` (Cheshmi et al. 2025), or ``batch``: a hidden layer with batch norm (SimCLR), no dropout.
        teacher: head on the teacher's side; ``none`` needs teacher features of width D.
        standardise: give each teacher feature zero mean and unit variance over the training split first.
        segments: time segments of a window, where a loss aligns them.
    """

    dim: int | None = Field(default=None, ge=1)
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    head: Literal["residual", "batch"] = "residual"
    teacher: Literal["mlp", "linear", "none"] = "mlp"
    standardise: bool = True
    segments: int = Field(default=4, ge=2)


class OptimSection(Config):
    """AdamW, its schedule and how long; exactly one of ``steps`` and ``epochs``.

    Args:
        lr: peak learning rate, reached after the warm-up.
        min_lr: learning rate of the last step.
        weight_decay: on matrices only (see optim.py).
        betas: AdamW's averages.
        clip_norm: largest gradient norm; null = measured, not clipped.
        warmup_fraction: share of all steps with a rising learning rate.
        decay: from ``lr`` to ``min_lr`` after the warm-up: ``cosine``, ``linear``, or ``constant`` (stays at ``lr``).
        steps: optimiser steps (updates).
        epochs: passes over the usable windows, full global batches only.
        accumulate: global batches per update. Each batch keeps its own negatives: 2 x 128 is not one batch of 256.
    """

    lr: float = Field(default=1e-3, gt=0)
    min_lr: float = Field(default=1e-6, ge=0)
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float | None = Field(default=1.0, gt=0)
    warmup_fraction: float = Field(default=0.1, ge=0, lt=1)
    decay: Decay = "cosine"
    steps: int | None = Field(default=None, ge=1)
    epochs: int | None = Field(default=None, ge=1)
    accumulate: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _one_length(self) -> OptimSection:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(
                f"give exactly one of steps and epochs (steps={self.steps}, epochs={self.epochs}), the other null"
            )
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr} is above lr {self.lr}")
        return self


class RunSection(Config):
    """How a run is watched, kept and placed; counts are optimiser steps.

    Args:
        log_every: steps per line of log.jsonl.
        validate_every: steps between validations; the last step is always validated.
        checkpoint_every: steps between checkpoints; the last step and a new best are always written.
        keep: newest checkpoints that stay, besides the best.
        best: which validation number names the best checkpoint: ``mrr`` (mean of both directions), ``loss``, or
            ``auto``: mrr where windows are paired with a video side, else loss.
        gallery: pairs in the validation gallery at most.
        precision: ``auto`` = bf16 on a GPU that has it, else fp32.
        device: ``auto`` = the GPU where there is one, else the CPU.
        tracker: ``tensorboard`` writes event files beside the log, which is always written.
        threads: CPU threads per process; null = torch's choice, divided among the processes of `--nproc`.
    """

    log_every: int = Field(default=10, ge=1)
    validate_every: int = Field(default=200, ge=1)
    checkpoint_every: int = Field(default=200, ge=1)
    keep: int = Field(default=2, ge=1)
    best: Literal["auto", "mrr", "loss"] = "auto"
    gallery: int = Field(default=512, ge=2)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    tracker: Literal["none", "tensorboard"] = "none"
    threads: int | None = Field(default=None, ge=1)


class PretrainConfig(Config):
    """Everything that determines a pretraining run.

    Args:
        name: for people; part of the default run folder.
        seed: initial weights, order of windows, devices drawn, augmentation, dropout.
        encoder: registered encoder.
        augment: registered augmentations, applied in order to SI units, in training only.
        tower: registered tower: a skeleton encoder that trains along, in place of a frozen teacher; null = none.
        loss: registered losses on embeddings, each with an optional ``weight``; may be empty beside objectives.
        objective: registered objectives on the student itself, each with an optional ``weight``.
    """

    name: str = Field(default="pretrain", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    seed: int = Field(default=0, ge=0)
    data: DataSection
    encoder: Component = {"name": "patch_tst"}
    projector: ProjectorSection = ProjectorSection()
    augment: tuple[Component, ...] = ()
    tower: Component | None = None
    loss: tuple[Component, ...] = ({"name": "info_nce"},)
    objective: tuple[Component, ...] = ()
    optim: OptimSection
    run: RunSection = RunSection()

    @model_validator(mode="after")
    def _something_to_learn(self) -> PretrainConfig:
        if not self.loss and not self.objective:
            raise ValueError("loss and objective are both empty: name at least one")
        return self


_PATH = re.compile(r"data\.root\.\d+\.root")

# What may change between a run and its continuation without changing the weights that come out.
_FREE = {
    "name",
    "data.root",
    "data.workers",
    "run.log_every",
    "run.checkpoint_every",
    "run.keep",
    "run.device",
    "run.tracker",
    "run.threads",
}


def identity(config: PretrainConfig, *, data: str) -> dict[str, Any]:
    """Dotted keys and values that a continuation must share: all but paths, worker and logging counts.

    ``data.control`` is a key of controls only.

    Args:
        config: resolved config.
        data: digest of the data folder's index; it stands for the path.

    Example:
        >>> c = PretrainConfig(data=DataSection(root="d"), optim=OptimSection(steps=3))
        >>> identity(c, data="abc")["optim.steps"], "data.root" in identity(c, data="abc")
        (3, False)
    """
    flat = {k: v for k, v in _flatten(config.model_dump(mode="json")) if k not in _FREE and not _PATH.fullmatch(k)}
    if config.data.control == "none":
        del flat["data.control"]
    return {**flat, "data (index digest)": data}


def run_id(of: Mapping[str, Any]) -> str:
    """Digest of an `identity`."""
    return digest(of)


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Lines ``key: saved -> now`` for every key of two identities that differs.

    Example:
        >>> differences({"optim.lr": 0.1, "seed": 0}, {"optim.lr": 0.2, "seed": 0})
        ['optim.lr: 0.1 -> 0.2']
    """
    missing = "(absent)"
    keys = sorted({*saved, *now})
    return [
        f"{key}: {saved.get(key, missing)} -> {now.get(key, missing)}"
        for key in keys
        if saved.get(key, missing) != now.get(key, missing)
    ]


def _flatten(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [pair for k, v in value.items() for pair in _flatten(v, f"{prefix}.{k}" if prefix else str(k))]
    if isinstance(value, list) and any(isinstance(v, dict) for v in value):
        return [pair for i, v in enumerate(value) for pair in _flatten(v, f"{prefix}.{i}")]
    return [(prefix, value)]
