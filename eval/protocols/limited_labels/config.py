"""Config of the limited-label protocol; YAML files: configs/eval/limited_labels. Nothing is loaded or run here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from eval.config import Metric
from eval.data.splits import Slice
from eval.finetune.config import ALPHAS, Alphas, Inputs, NetworkConfig, SpreadConfig
from eval.results.bootstrap import Bootstrap
from imu_video.config import Config

Number = int | Literal["all"]
"""Labelled windows a class, or all there are."""


class Method(Config):
    """One way to make a classifier from an encoder and a few labels.

    Args:
        name: in tables.
        start: ``encoder`` (pretrained) or ``random`` (the same architecture, never trained).
        learn: ``head``: the probe on frozen features; ``linear``: a linear head on the frozen encoder by gradient
            descent; ``all``: encoder and head by gradient descent; ``wise``: first as ``linear``, from there as
            ``all``, and then weights between the two (`eval.finetune.wise`).
        inputs: ``imu``; ``fused``, the video side's frozen features beside the IMU encoder's; or ``teacher``, those
            alone. The video side is the skeleton encoder trained along with the encoder, where there is one and
            ``start`` is ``encoder``; else the cached teacher.
        along: ``skeleton``: with ``learn: all``, the skeleton encoder that was exported with the encoder is trained
            along, with three heads (`eval.finetune.joint`); ``inputs`` says which is asked, ``teacher`` as well.
            null = not.
        spread: spread the labels over the pool's unlabelled windows first; null = learn from the labelled ones only.
    """

    name: str
    start: Literal["encoder", "random"] = "encoder"
    learn: Literal["head", "linear", "all", "wise"] = "head"
    inputs: Inputs = "imu"
    along: Literal["skeleton"] | None = None
    spread: SpreadConfig | None = None

    @model_validator(mode="after")
    def _possible(self) -> Method:
        if self.along and self.learn != "all":
            raise ValueError(f"method {self.name!r}: what is trained along needs learn: all")
        if self.inputs == "teacher" and self.trains and not self.along:
            raise ValueError(f"method {self.name!r}: the teacher is frozen, inputs: teacher goes with learn: head")
        if self.start == "random" and self.learn == "wise":
            raise ValueError(f"method {self.name!r}: learn: wise stays near pretrained weights, start: encoder")
        if self.start == "random" and self.spread is not None and self.spread.inputs != "teacher":
            raise ValueError(
                f"method {self.name!r}: a random encoder has no neighbours to offer: spread.inputs: teacher"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """The method as part of a key: without its name, and without ``inputs`` where one training has all heads."""
        unused = {"name", "inputs"} if self.along else {"name"}
        return self.model_dump(mode="json", exclude=unused)

    @property
    def trains(self) -> bool:
        """Whether a network is trained by steps."""
        return self.learn != "head"

    @property
    def uses_student(self) -> bool:
        """Whether the pretrained IMU encoder's weights enter."""
        own = self.start == "encoder" and (self.inputs != "teacher" or self.along is not None)
        return own or (self.spread is not None and self.spread.inputs != "teacher")

    @property
    def uses_teacher(self) -> bool:
        """Whether frozen features of the video side enter, in learning or in spreading labels."""
        return (self.inputs != "imu" and self.along is None) or (
            self.spread is not None and self.spread.inputs != "imu"
        )


class LabelsConfig(Config):
    """A whole limited-label evaluation.

    Args:
        name: the domain's name in tables.
        pool: whose windows may carry labels, and are known without labels to `spread`.
        choose: on whom a trained network's step is chosen; that figure stands beside the last step's. null = not.
        test: who is asked.
        classes: labels to tell apart; others are left out of all three groups. null = every label of the pool.
        labels: labelled windows a class, or ``all``; smaller sets are part of larger ones.
        seeds: each draws its own labels, initial weights and order; encoder number i goes with seed number i.
        methods: what is compared.
        references: methods whose figures are subtracted from those of every method that uses the encoder.
        teacher: the cached teacher (name or fingerprint) for fused inputs; null = the encoder's own.
        probe: of ``learn: head``; spreading needs one with ``fit_targets``.
        scratch: schedule of ``learn: all`` from a random start.
        linear: schedule of ``learn: linear``, and of the first part of ``wise``.
        finetune: schedule of ``learn: all`` from the encoder, and of the second part of ``wise``.
        alphas: of ``wise``: a grid from 0 to 1; 0.5 is always looked at.
        metrics: figures to report.
        bootstrap: intervals.
    """

    name: str = "people"
    pool: Slice = Slice(split="train")
    choose: Slice | None = Slice(split="val")
    test: Slice = Slice(split="test")
    classes: list[str] | None = Field(default=None, min_length=2)
    labels: list[Number] = Field(default=[1, 5, 10, "all"], min_length=1)
    seeds: list[int] = Field(default=[0, 1, 2, 3, 4], min_length=1)
    methods: list[Method] = Field(
        default=[
            Method(name="probe"),
            Method(name="fine-tune", learn="all"),
            Method(name="random", start="random"),
            Method(name="scratch", start="random", learn="all"),
        ],
        min_length=1,
    )
    references: list[str] = ["scratch"]
    teacher: str | None = None
    probe: str | dict[str, Any] = "logreg"
    scratch: NetworkConfig = NetworkConfig()
    linear: NetworkConfig = NetworkConfig()
    finetune: NetworkConfig = NetworkConfig()
    alphas: Alphas = ALPHAS
    metrics: list[Metric] = Field(default=["accuracy", "macro_f1"], min_length=1)
    bootstrap: Bootstrap = Bootstrap()

    @model_validator(mode="after")
    def _consistent(self) -> LabelsConfig:
        names = [m.name for m in self.methods]
        if len(set(names)) != len(names) or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"methods and seeds must be distinct, got {names} and {self.seeds}")
        unknown = [r for r in self.references if r not in names]
        if unknown:
            raise ValueError(f"references {unknown} are none of the methods {names}")
        if any(n != "all" and n < 1 for n in self.labels) or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels must be distinct and at least 1, or 'all', got {self.labels}")
        return self

    @property
    def splits(self) -> list[str]:
        """Every split that is read, in order."""
        parts = [self.pool, *([self.choose] if self.choose else []), self.test]
        return list(dict.fromkeys(split for part in parts for split in part.splits))
