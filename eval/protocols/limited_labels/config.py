"""Config of the limited-label protocol; YAML files: configs/eval/limited_labels. Nothing is loaded or run here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from eval.config import Metric
from eval.data.splits import Slice
from eval.finetune.config import ALPHAS, Alphas, Inputs, NetworkConfig, SpreadConfig
from eval.results.intervals import Intervals
from imu_video.arguments import LARGEST_INTEGER, Seed
from imu_video.config import Config
from imu_video.errors import nearest
from imu_video.registry import trained_modalities

Number = int | Literal["all"]
"""Labelled windows per class, or all of them."""


class Method(Config):
    """A method that makes a classifier from an encoder and a few labels.

    Args:
        name: name in tables.
        start: ``encoder`` (pretrained) or ``random`` (the same architecture, untrained).
        learn: ``head``: the probe on frozen features; ``linear``: a linear head on the frozen encoder by gradient
            descent; ``all``: encoder and head by gradient descent; ``wise``: first ``linear``, then ``all`` from there,
            then weights between the two (`eval.finetune.wise`).
        inputs: ``imu``; ``fused``, frozen features of the other side concatenated with the IMU encoder's; or
            ``teacher``, features of the other side alone. The other side is the encoder of another modality exported
            with the IMU encoder, if any and if ``start`` is ``encoder``; else the cached teacher.
        along: a modality for which a trainable encoder is registered, such as ``skeleton``: with ``learn: all``, the
            encoder of that modality exported with the IMU encoder is trained jointly, with three heads
            (`eval.finetune.joint`); ``inputs`` selects the head that is evaluated. null = no joint training.
        spread: first spread the labels over the pool's unlabelled windows; null = use labelled windows only.
    """

    name: str
    start: Literal["encoder", "random"] = "encoder"
    learn: Literal["head", "linear", "all", "wise"] = "head"
    inputs: Inputs = "imu"
    along: str | None = None
    spread: SpreadConfig | None = None

    @field_validator("along")
    @classmethod
    def _registered(cls, along: str | None) -> str | None:
        # Looked up only where it is used: the registry imports the networks of all sides.
        if along is not None and along not in (known := trained_modalities()):
            raise ValueError(f"no trainable encoder of {along!r} is registered{nearest(along, known)}, only {known}")
        return along

    @model_validator(mode="after")
    def _possible(self) -> Method:
        if self.along and self.learn != "all":
            raise ValueError(f"method {self.name!r}: along: {self.along} requires learn: all")
        if self.inputs == "teacher" and self.trains and not self.along:
            raise ValueError(f"method {self.name!r}: the teacher is frozen, so inputs: teacher requires learn: head")
        if self.start == "random" and self.learn == "wise":
            raise ValueError(
                f"method {self.name!r}: learn: wise stays near pretrained weights and requires start: encoder"
            )
        if self.start == "random" and self.spread is not None and self.spread.inputs != "teacher":
            raise ValueError(
                f"method {self.name!r}: a random encoder has no meaningful neighbours, use spread.inputs: teacher"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """The method as part of a key: without its name, and without ``inputs`` where one training has all heads."""
        unused = {"name", "inputs"} if self.along else {"name"}
        return self.model_dump(mode="json", exclude=unused)

    @property
    def trains(self) -> bool:
        """Whether a network is trained by gradient descent."""
        return self.learn != "head"

    @property
    def uses_student(self) -> bool:
        """Whether the pretrained IMU encoder's weights enter."""
        own = self.start == "encoder" and (self.inputs != "teacher" or self.along is not None)
        return own or (self.spread is not None and self.spread.inputs != "teacher")

    @property
    def uses_teacher(self) -> bool:
        """Whether frozen features of the other side enter, in learning or in spreading labels."""
        return (self.inputs != "imu" and self.along is None) or (
            self.spread is not None and self.spread.inputs != "imu"
        )


class LabelsConfig(Config):
    """A whole limited-label evaluation.

    Args:
        name: name of the domain in tables.
        pool: slice of training subjects, whose windows may carry labels; `spread` uses the others without labels.
        choose: slice of validation subjects, on which a network's step is chosen; that figure is reported beside the
            last step's. null = no validation.
        choose_per_class: validation windows per class, drawn by the seed as labels are; null = all.
        checks: evaluations on the validation subjects during one training, evenly over its steps; ``epoch``: after
            every epoch of a schedule in epochs.
        report: the main figure of a method that trains a network: ``last`` step (alpha 0.5 of ``wise``), or ``chosen``
            step (alpha), the best on the validation subjects; the other one is in ``details``.
        test: slice of test subjects.
        classes: labels to distinguish; others are excluded from all three groups. null = every label of the pool.
        labels: labelled windows per class, or ``all``; smaller sets are subsets of larger ones.
        seeds: each draws its own labels, initial weights and order; encoder i is used with seed i.
        methods: the methods to compare.
        references: methods whose figures are subtracted from those of every method that uses the encoder.
        teacher: the cached teacher (name or fingerprint) for fused inputs; null = the encoder's own teacher.
        probe: probe of ``learn: head``; spreading requires one with ``fit_targets``.
        scratch: schedule of ``learn: all`` from a random start.
        linear: schedule of ``learn: linear``, and of the first part of ``wise``.
        finetune: schedule of ``learn: all`` from the encoder, and of the second part of ``wise``.
        alphas: grid of ``wise``, from 0 to 1; 0.5 is always evaluated.
        metrics: figures to report.
        intervals: confidence intervals and tests.
    """

    name: str = "people"
    pool: Slice = Slice(split="train")
    choose: Slice | None = Slice(split="val")
    choose_per_class: int | None = Field(default=None, ge=1, le=LARGEST_INTEGER)
    checks: Annotated[int, Field(ge=1, le=10**4)] | Literal["epoch"] = 10
    report: Literal["last", "chosen"] = "last"
    test: Slice = Slice(split="test")
    classes: list[str] | None = Field(default=None, min_length=2)
    labels: list[Number] = Field(default=[1, 5, 10, "all"], min_length=1)
    seeds: list[Seed] = Field(default=[0, 1, 2, 3, 4], min_length=1)
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
    intervals: Intervals = Intervals()

    @model_validator(mode="after")
    def _consistent(self) -> LabelsConfig:
        names = [m.name for m in self.methods]
        if len(set(names)) != len(names) or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"methods and seeds must be distinct, got {names} and {self.seeds}")
        unknown = [r for r in self.references if r not in names]
        if unknown:
            raise ValueError(f"references {unknown} are not among the methods {names}")
        if any(n != "all" and n < 1 for n in self.labels) or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels must be distinct and at least 1, or 'all', got {self.labels}")
        if self.choose is None and (self.choose_per_class is not None or self.report == "chosen"):
            raise ValueError("choose_per_class and report: chosen require validation subjects, got choose: null")
        without = [name for name in self.trained if getattr(self, name).epochs is None]
        if self.checks == "epoch" and without:
            raise ValueError(f"checks: epoch requires schedules in epochs, but {without[0]}.epochs is null")
        return self

    @property
    def trained(self) -> list[str]:
        """Names of the schedules that the methods use."""
        used = {
            "linear": any(m.learn in ("linear", "wise") for m in self.methods),
            "finetune": any(m.learn in ("all", "wise") and m.start == "encoder" for m in self.methods),
            "scratch": any(m.learn == "all" and m.start == "random" for m in self.methods),
        }
        return [name for name, is_used in used.items() if is_used]

    @property
    def splits(self) -> list[str]:
        """Every split that is read, in order."""
        parts = [self.pool, *([self.choose] if self.choose else []), self.test]
        return list(dict.fromkeys(split for part in parts for split in part.splits))
