"""Config of the benchmark of domain shift: scenario, models, algorithms with grids, schedule; nothing runs here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from eval.finetune.config import ALPHAS, Alphas
from eval.protocols.ood.search import Distribution, Search
from eval.registry import selection_rules
from imu_video.arguments import LARGEST_INTEGER, BelowOne, Seed
from imu_video.config import DISTINCT, Config, Fragment
from imu_video.errors import nearest

MOST_SETTINGS = 10_000
"""Most combinations of the grid of one algorithm."""
MOST_RUNS = 1_000_000
"""Most runs for each target domain; all of them are listed before the first one starts."""


class Scenario(Config):
    """Division of labelled windows into domains.

    Args:
        name: name in tables.
        view: declared view of array folders that is read (`eval.data.source`); None for all channels of each window.
        axis: fact that differs between domains: ``subject``, ``placement``, ``dataset``, ``session``, ``split``, or any
            tag of the data (``device``, ``side``, ``population`` ...).
        domains: domain name -> values of the axis; windows with other values are excluded.
        groups: instead of ``domains``: number of groups of consecutive sorted values. Without both, one domain per
            value.
        targets: target domains, evaluated in turn; None for all.
        labels: classes to distinguish; None keeps those that every domain has.
        label_map: dataset -> {its label: common label}; other labels are excluded.
        people: ``disjoint``: no target subject is in the sources, whatever the axis (`eval.protocols.ood.scenario`);
            ``shared``: subjects and times may be on both sides, as in published benchmarks of placements.
        folds: with ``disjoint``, if a subject is in two domains: number of groups of subjects; seed k tests group k
            modulo ``folds`` and trains on the others.
        placements, where: keep only these devices, and these values of tags.
        per_class: maximum number of windows per subject, class and domain, evenly over time; None for all.
        validation: share of the source windows that validate the checkpoint.
        validation_by: ``times``: the last times of each subject and class validate, and training windows that overlap
            them are left out; ``windows``: random windows of each source domain, stratified by class, as in the
            released code of HAROOD. Such windows overlap training windows in time, so source validation is too high.
        absent: classes that a domain lacks: ``drop`` excludes them; ``keep`` keeps them, as published benchmarks do.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    view: str | None = None
    axis: str
    domains: dict[str, list[str]] | None = None
    groups: int | None = Field(default=None, ge=2, le=10**4)
    targets: list[str] | None = None
    labels: list[str] | None = None
    label_map: dict[str, dict[str, str]] | None = None
    people: Literal["disjoint", "shared"] = "disjoint"
    folds: int = Field(default=3, ge=2, le=10**4)
    placements: Annotated[list[str] | None, DISTINCT] = None
    where: dict[str, str | list[str]] = Field(default_factory=dict)
    per_class: int | None = Field(default=None, ge=2, le=LARGEST_INTEGER)
    validation: float = Field(default=0.2, gt=0, lt=0.9)
    validation_by: Literal["times", "windows"] = "times"
    absent: Literal["drop", "keep"] = "drop"

    @model_validator(mode="after")
    def _one_way(self) -> Scenario:
        if self.domains is not None and self.groups is not None:
            raise ValueError("'domains' and 'groups' exclude each other")
        if self.domains is not None and len(self.domains) < 2:
            raise ValueError(f"a shift requires at least two domains, got {list(self.domains)}")
        return self


class Model(Config):
    """A network that algorithms train: untrained, or an exported encoder.

    Args:
        name: name in tables.
        backbone: entry of the encoder registry, or the path of a YAML file with it, for an untrained network.
        encoder: encoder folder, for a pretrained network; or a folder of encoders that differ in the pretraining seed,
            each of which is trained with every seed.
        train: ``all`` (the whole network), ``head`` (the classifier on a frozen encoder) or, for an exported encoder,
            ``wise``: first ``head``, then ``all`` from there, each for the whole schedule, then weights between the
            two (`eval.finetune.wise`) at the alpha that is best on source validation.
        lr: learning rate of this model; None for that of the training.
        encoder_factor: learning rate of the encoder over that of the classifier, above 0.
        alphas: grid of ``wise``, from 0 (the probe) to 1 (the fine-tuned network).
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    backbone: Annotated[dict[str, Any], Fragment()] | None = None
    encoder: str | None = None
    train: Literal["all", "head", "wise"] = "all"
    lr: float | None = Field(default=None, gt=0, le=1e3)
    encoder_factor: float = Field(default=1.0, gt=0, le=1e6)
    alphas: Alphas = ALPHAS

    @model_validator(mode="after")
    def _one_kind(self) -> Model:
        if (self.backbone is None) == (self.encoder is None):
            raise ValueError(f"model {self.name!r}: exactly one of 'backbone' and 'encoder' is required")
        if self.train == "wise" and self.encoder is None:
            raise ValueError(f"model {self.name!r}: train: wise stays near pretrained weights and requires 'encoder'")
        return self


class Training(Config):
    """The schedule that every run shares.

    Args:
        steps: updates.
        evaluate_every: updates between checkpoints; the best on source validation is the run's result.
        first_evaluation: update of the first checkpoint; None for ``evaluate_every``. The last update is always one.
        batch: windows per source domain and update, drawn with replacement.
        lr, weight_decay, betas: settings of Adam.
        statistics: ``joint``: batch norm uses the statistics of all source domains together; ``per_domain``: those of
            each domain separately, as in HAROOD and DomainBed.
    """

    steps: int = Field(default=3000, ge=1, le=LARGEST_INTEGER)
    evaluate_every: int = Field(default=100, ge=1, le=LARGEST_INTEGER)
    first_evaluation: int | None = Field(default=None, ge=1, le=LARGEST_INTEGER)
    batch: int = Field(default=32, ge=2, le=2**20)
    lr: float = Field(default=1e-3, gt=0, le=1e3)
    weight_decay: float = Field(default=5e-4, ge=0, le=1e3)
    betas: tuple[BelowOne, BelowOne] = (0.5, 0.9)
    statistics: Literal["joint", "per_domain"] = "joint"

    def evaluates(self, step: int, last: int) -> bool:
        """Whether there is a checkpoint after update ``step`` of ``last``, both counted from 1."""
        first = self.evaluate_every if self.first_evaluation is None else self.first_evaluation
        return step == last or (step >= first and (step - first) % self.evaluate_every == 0)


class Entry(Config):
    """An algorithm and its hyper-parameters: a grid, or distributions of a random search.

    Args:
        name: registered algorithm.
        grid: argument -> values; every combination is run. The keys ``batch_size``, ``betas``, ``lr``, ``statistics``
            and ``weight_decay`` replace those of the training for this algorithm.
        random: argument -> distribution, with ``search`` of the benchmark; excludes ``grid``.
        fixed: arguments with one value.
    """

    name: str
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    random: dict[str, Distribution] = Field(default_factory=dict)
    fixed: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _few_enough(self) -> Entry:
        if self.grid and self.random:
            raise ValueError(f"algorithm {self.name!r}: 'grid' and 'random' exclude each other")
        if not 1 <= self.size <= MOST_SETTINGS:
            raise ValueError(f"the grid has {self.size} combinations, expected 1 to {MOST_SETTINGS}")
        return self

    @property
    def size(self) -> int:
        """Number of combinations of the grid."""
        return math.prod(len(values) for values in self.grid.values())

    def settings(self) -> Iterator[dict[str, Any]]:
        """Every combination of the grid, including ``lr``."""
        names = sorted(self.grid)
        for values in itertools.product(*(self.grid[name] for name in names)):
            yield {**self.fixed, **dict(zip(names, values, strict=True))}


class OodConfig(Config):
    """A whole benchmark.

    Args:
        scenario: the division into domains.
        models: networks; in a file also a mapping of names to the other keys, which `extends` merges name by name.
        algorithms: names, or entries with grids.
        training: the schedule.
        seeds: seeds of initial weights, batches, algorithms and folds of subjects.
        selection: registered selection rules to report: ``source`` (training-domain validation), ``oracle`` (target
            accuracy: an upper bound, never a result), ``lodo`` (leave one source domain out; requires further runs
            for grids with choices); ``oracle_last`` and ``lodo_step`` are the last two as in DomainBed.
        search: random search for algorithms without a grid; null = none.
        select: ``mean``: one setting for all seeds, by the mean over seeds, as in HAROOD; ``per_seed``: a setting for
            every seed, as in DomainBed, whose trials are separate.
        rate_hz: common sampling rate of several data folders; None for that of the first.
    """

    scenario: Scenario
    models: list[Model] = Field(min_length=1)
    algorithms: list[Entry] = Field(default=[Entry(name="erm")], min_length=1)
    training: Training = Training()
    seeds: list[Seed] = Field(default=[0, 1, 2], min_length=1)
    selection: list[str] = Field(default=["source", "oracle"], min_length=1)
    search: Search | None = None
    select: Literal["mean", "per_seed"] = "mean"
    rate_hz: float | None = Field(default=None, gt=0, le=1e4)

    def settings(self, entry: Entry, seed: int) -> list[dict[str, Any]]:
        """The settings of an algorithm in one seed: its grid, or the draws of the search."""
        if self.search is None or entry.grid:
            return list(entry.settings())
        return self.search.settings(entry.random, entry.fixed, seed)

    @model_validator(mode="before")
    @classmethod
    def _names(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        data = dict(data)
        named = data.get("algorithms")
        if isinstance(named, str | list):
            listed = [named] if isinstance(named, str) else named
            data["algorithms"] = [{"name": e} if isinstance(e, str) else e for e in listed]
        models = data.get("models")
        if isinstance(models, Mapping):
            data["models"] = [{"name": n, **m} if isinstance(m, Mapping) else m for n, m in models.items()]
        return data

    @field_validator("selection")
    @classmethod
    def _rules(cls, selection: list[str]) -> list[str]:
        known = selection_rules.names()
        unknown = [rule for rule in selection if rule not in known]
        if unknown:
            raise ValueError(f"unknown selection rule {unknown[0]!r}{nearest(unknown[0], known)}")
        return selection

    @model_validator(mode="after")
    def _distinct(self) -> OodConfig:
        for what, names in (
            ("models", [m.name for m in self.models]),
            ("algorithms", [a.name for a in self.algorithms]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} must have distinct names, got {names}")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must be distinct, got {self.seeds}")
        if self.search is None and (drawn := [entry.name for entry in self.algorithms if entry.random]):
            raise ValueError(f"algorithm {drawn[0]!r} has distributions, but there is no 'search'")
        if self.search is not None and self.search.redraw and self.select == "mean":
            raise ValueError("search.redraw: seeds have no setting in common, so it requires select: per_seed")
        late = [rule for rule in self.selection if selection_rules.get(rule).every_checkpoint]
        wise = [m.name for m in self.models if m.train == "wise"]
        if late and wise:
            raise ValueError(f"selection rule {late[0]!r} selects a checkpoint; model {wise[0]!r} is interpolated")
        sizes = [entry.size if entry.grid or self.search is None else self.search.number for entry in self.algorithms]
        count = len(self.seeds) * len(self.models) * sum(sizes)
        if count > MOST_RUNS:
            raise ValueError(
                f"seeds x models x settings of the algorithms are {count} runs for each target, "
                f"expected at most {MOST_RUNS}"
            )
        return self
