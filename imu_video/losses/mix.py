"""Weighted sum of losses, with weights that are constant or ramp over the steps; it depends on no particular loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from imu_video import registry
from imu_video.config import Config, validate
from imu_video.errors import ConfigError
from imu_video.losses.base import PAIRED, LossNeeds, PairLoss
from imu_video.types import LossOutput, PairEmbeddings, PairMeta


class Ramp(Config):
    """A weight that changes from one value to another, as a pure function of the number of optimiser steps.

    Args:
        first: weight up to step ``start``, >= 0.
        last: weight from step ``end`` on, >= 0.
        start, end: steps, 0 <= start < end.
        shape: ``linear``, or ``cosine`` (half a period: slow, fast, slow).

    Example:
        >>> float(Ramp(first=0.0, last=2.0, end=100)(torch.tensor(25)))
        0.5
    """

    first: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    last: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    start: int = Field(default=0, ge=0)
    end: int = Field(ge=1)
    shape: Literal["linear", "cosine"] = "linear"

    @model_validator(mode="after")
    def _order(self) -> Ramp:
        if self.end <= self.start:
            raise ValueError(f"end {self.end} must be after start {self.start}")
        return self

    def __call__(self, step: Tensor) -> Tensor:
        """The weight at a step, () -> ()."""
        way = ((step - self.start) / (self.end - self.start)).clamp(0, 1)
        if self.shape == "cosine":
            way = 0.5 - 0.5 * torch.cos(math.pi * way)
        return self.first + (self.last - self.first) * way


@dataclass(frozen=True, kw_only=True)
class Term:
    """One validated entry of a mix, before its component is built.

    Args:
        name: name in the log: the component's, or ``name_2`` for its second entry.
        weight: a number or a ramp.
        entry: component and arguments.
    """

    name: str
    weight: float | Ramp
    entry: registry.Entry[Any]

    @property
    def needs(self) -> LossNeeds:
        """Requirements of this term's loss, from `PairLoss.needs_of` or else from the attributes of its class."""
        state = getattr(self.entry.component, "needs_of", None)
        if state is None:
            return LossNeeds.of_attributes(self.entry.component)
        needs: LossNeeds = state(self.entry.arguments)
        return needs


class WeightedSum(nn.Module):
    """Named components with weights: the common base of `LossMix` and of a mix of objectives.

    Args:
        terms: name -> (weight, component); numbers finite and >= 0, at least one weight not zero, or a `Ramp`.

    Raises:
        ConfigError: no term, or weights that are negative, not finite or all zero.
    """

    step: Tensor

    def __init__(self, terms: Mapping[str, tuple[float | Ramp, nn.Module]]) -> None:
        super().__init__()
        weights = {name: weight if isinstance(weight, Ramp) else float(weight) for name, (weight, _) in terms.items()}
        numbers = [n for w in weights.values() for n in ([w.first, w.last] if isinstance(w, Ramp) else [w])]
        if not any(numbers) or not all(math.isfinite(n) and n >= 0 for n in numbers):
            raise ConfigError(f"loss weights must be finite, not negative, not all zero; got {weights or 'no loss'}")
        self.weights = weights
        self.losses = nn.ModuleDict({name: component for name, (_, component) in terms.items()})
        if any(isinstance(weight, Ramp) for weight in weights.values()):
            # Counted by observe() and kept in checkpoints: forward stays a function of state and batch.
            self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @staticmethod
    def parse(
        entries: Sequence[Mapping[str, Any] | str], components: registry.Registry[Any], **context: Any
    ) -> tuple[Term, ...]:
        """Terms from config entries: a registered component each, with an optional ``weight`` (default 1).

        Nothing is built. A component that occurs twice is logged as ``name`` and ``name_2``.

        Args:
            entries: names or mappings; ``weight`` is a number or the arguments of a `Ramp`.
            components: where they are registered.
            context: arguments that configs leave out, for components that take them.

        Raises:
            ConfigError: an unknown component or argument, or a weight that is neither a number nor a ramp.
        """
        terms: dict[str, Term] = {}
        for entry in entries:
            config = {"name": entry} if isinstance(entry, str) else dict(entry)
            weight = config.pop("weight", 1.0)
            what = f"{components.kind} {config.get('name')!r}"
            if isinstance(weight, Mapping):
                weight = validate(dict(weight), Ramp, source=f"{what}, weight")
            elif isinstance(weight, bool) or not isinstance(weight, int | float):
                raise ConfigError(f"{what}: weight must be a number or a ramp, got {weight!r}")
            component = components.entry(config, **context)
            name = unique = component.name
            number = 1
            while unique in terms:
                number += 1
                unique = f"{name}_{number}"
            terms[unique] = Term(name=unique, weight=weight, entry=component)
        return tuple(terms.values())

    def weight(self, name: str) -> float | Tensor:
        """The current weight of a term: a number, or a scalar tensor if it is scheduled."""
        weight = self.weights[name]
        return weight(self.step) if isinstance(weight, Ramp) else weight

    def combine(self, outputs: Mapping[str, LossOutput]) -> LossOutput:
        """Weighted total; ``terms`` hold each output before its weight, ``stats`` are named ``name/stat``."""
        total: Tensor | None = None
        terms: dict[str, Tensor] = {}
        stats: dict[str, Tensor] = {}
        for name, out in outputs.items():
            weight = self.weight(name)
            if isinstance(weight, Tensor):
                stats[f"{name}/weight"] = weight
            # A weight of 1 is not multiplied: torch.compile removes the product, so that the total and the tensor that
            # is detached for ``terms`` become one, and the total loses its gradient.
            part = out.total if isinstance(weight, float) and weight == 1.0 else weight * out.total
            total = part if total is None else total + part
            terms[name] = out.total.detach()
            stats.update({f"{name}/{key}": value for key, value in out.stats.items()})
        assert total is not None  # the constructor rejects an empty mix
        return LossOutput(total=total, terms=terms, stats=stats)

    def count(self) -> None:
        """Count one optimiser step, for scheduled weights."""
        if any(isinstance(weight, Ramp) for weight in self.weights.values()):
            self.step += 1


class LossMix(WeightedSum, PairLoss):
    """A weighted sum of losses, each logged under its own name.

    Args:
        terms: name -> (weight, loss); numbers finite and >= 0, at least one weight not zero, or a `Ramp`.

    Attributes:
        needs, fixed_target, queue_size, warm_rows: of all losses together, see `LossNeeds.of_all`.

    Raises:
        ConfigError: no term, or weights that are negative, not finite or all zero.

    Example:
        ``LossMix.build([{"name": "info_nce", "weight": 1.0}, {"name": "sigmoid_pair", "weight": {"end": 1000}}])``
    """

    def __init__(self, terms: Mapping[str, tuple[float | Ramp, PairLoss]]) -> None:
        super().__init__(terms)
        needs = LossNeeds.of_all(LossNeeds.of_attributes(loss) for _, loss in terms.values())
        self.needs, self.fixed_target = needs.inputs, needs.fixed_target
        self.queue_size, self.warm_rows = needs.queue_size, needs.warm_rows

    @classmethod
    def build(cls, entries: Sequence[Mapping[str, Any] | str], **context: Any) -> LossMix:
        """Build from config entries, see `WeightedSum.parse`.

        Args:
            entries: names or mappings with an optional ``weight``.
            context: ``dim`` (D), ``teacher_dim`` (Dt).
        """
        return cls.of_terms(cls.parse(entries, registry.losses, **context))

    @classmethod
    def of_terms(cls, terms: Sequence[Term]) -> LossMix:
        """Build the losses of validated terms, each once.

        Raises:
            ConfigError: a loss rejects its arguments, or its needs as built differ from those of its class.
        """
        losses = {term.name: (term.weight, term.entry.build()) for term in terms}
        for term in terms:
            built = LossNeeds.of_attributes(losses[term.name][1])
            if built != term.needs:
                raise ConfigError(
                    f"loss {term.name!r} as built has {built}, its class declares {term.needs}",
                    hint=f"override needs_of(cls, arguments) in {term.entry.component.__name__} and call "
                    "self.adopt_needs(...) with the same arguments in its constructor",
                )
        return cls(losses)

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        """Weighted total; ``terms`` hold each loss before its weight, ``stats`` are named ``loss/stat``.

        Windows without a pair contribute only to losses on the IMU alone: a loss whose needs are in `PAIRED` gets the
        paired rows, and every mean is over the rows that its loss got.
        """
        paired = pair.with_pairs()
        return self.combine({name: loss(self._rows(loss, pair, paired)) for name, loss in self.losses.items()})

    @staticmethod
    def _rows(loss: nn.Module, pair: PairEmbeddings, paired: PairEmbeddings) -> PairEmbeddings:
        """The rows that a loss reads: all, or the paired ones."""
        return paired if PAIRED & frozenset(getattr(loss, "needs", ())) else pair

    def observe(self, pair: PairEmbeddings) -> None:
        """Pass the step's embeddings on to every loss, then count the step."""
        paired = pair.with_pairs()
        for loss in self.losses.values():
            rows = self._rows(loss, pair, paired)
            loss.observe(rows)  # type: ignore[operator]  # ModuleDict hides the type of its values
        self.count()

    def check_devices(self, worn: Tensor) -> None:
        """Check every loss that needs devices."""
        for loss in self.losses.values():
            if "devices" in getattr(loss, "needs", ()):
                loss.check_devices(worn)  # type: ignore[operator]  # see observe

    def warm_start(self, *, meta: PairMeta, video: Tensor | None = None, devices: Tensor | None = None) -> None:
        """Pass the rows for the warm start to every loss that uses some."""
        for loss in self.losses.values():
            rows = getattr(loss, "warm_rows", 0)
            if rows:
                # Each loss gets only as many rows as it needs, so that its state does not depend on the other losses.
                first = PairMeta(**{k: v[:rows] for k, v in vars(meta).items()})
                some = {"video": video, "devices": devices}
                loss.warm_start(  # type: ignore[operator]  # see observe
                    meta=first, **{k: None if v is None else v[:rows] for k, v in some.items()}
                )
