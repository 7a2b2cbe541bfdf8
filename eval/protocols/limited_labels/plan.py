"""The cells of a limited-label run: which there are, and everything that each depends on; nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from eval.finetune.config import NetworkConfig
from eval.protocols.limited_labels.config import LabelsConfig, Method, Number
from eval.protocols.limited_labels.inputs import Features
from imu_video.config import digest

FORMAT = 2
"""Version of the keys; cells of another version are not reused."""


class Cell(NamedTuple):
    """One method with one number of labels and one seed.

    Args:
        method: how a classifier is made.
        number: labelled windows per class, or ``all``.
        place: index into ``config.seeds``.
    """

    method: Method
    number: Number
    place: int


class Plan:
    """Cells of one model, their identities and their cost in optimiser steps.

    Args:
        config: of the run.
        features: encoders and features of the model.
    """

    def __init__(self, config: LabelsConfig, features: Features) -> None:
        self.config, self.features = config, features

    @property
    def cells(self) -> list[Cell]:
        """Every cell, seeds innermost."""
        places = range(len(self.config.seeds))
        return [Cell(m, n, place) for m in self.config.methods for n in self.config.labels for place in places]

    def schedules(self, method: Method) -> tuple[NetworkConfig | None, NetworkConfig | None]:
        """Schedules of a linear head on the frozen encoder, and of the whole network; None for what is not trained."""
        tuned = self.config.scratch if method.start == "random" else self.config.finetune
        return (
            self.config.linear if method.learn in ("linear", "wise") else None,
            tuned if method.learn in ("all", "wise") else None,
        )

    def steps(self, cell: Cell) -> int:
        """Optimiser steps of a cell; 0 for a probe."""
        groups, (method, number, place) = self.features.groups, cell
        labelled = groups.pool if method.spread else groups.labelled(number, self.config.seeds[place])
        return sum(s.steps_for(len(labelled)) for s in self.schedules(method) if s is not None)

    def pretrained(self, method: Method) -> bool:
        """Whether weights of the model under test enter, those of the encoder exported beside it included."""
        from_side = method.start == "encoder" and method.uses_teacher and bool(self.features.sides)
        return method.uses_student or from_side

    def weights(self, method: Method, place: int) -> str:
        """Identity of the weights that enter a cell, or of the architecture where none are pretrained."""
        if method.uses_student:
            own = self.features.digest(place)
            return f"{own} {self.features.joint_side(method, place).name}" if method.along else own
        if method.inputs == "teacher":
            return f"teacher {self.features.side(method, place).name}"
        bundle = self.features.bundle(place)
        # Six digits of the scale: two pretraining runs on the same data may differ in the last bit of a float64, and
        # their from-scratch cells are the same.
        scale = [[f"{v:.6g}" for v in values] for values in (bundle.spec.mean, bundle.spec.std)]
        shape = {"encoder": bundle.encoder_config, "channels": bundle.spec.channels, "rate_hz": bundle.spec.rate_hz}
        tower = self.features.joint_side(method, place).tower if method.along else None
        return "untrained " + digest({**shape, "scale": scale, **({"along": tower.config} if tower else {})})

    def key(self, cell: Cell) -> Mapping[str, Any]:
        """Everything that a cell depends on and nothing else, so that the same cell is never computed twice."""
        method, number, place = cell
        config, windows = self.config, self.features.groups.windows
        key: dict[str, Any] = {
            "format": FORMAT,
            "data": windows.digest,
            "groups": [getattr(config, g).model_dump(mode="json") for g in ("pool", "test")],
            "classes": None if config.classes is None else sorted(config.classes),
            "method": method.identity(),
            "number": number,
            "seed": config.seeds[place],
            "weights": self.weights(method, place),
            "teacher": self.features.side(method, place).name if method.uses_teacher else None,
        }
        if not method.trains:
            return {**key, "probe": config.probe}
        linear, tuned = (s and s.identity() for s in self.schedules(method))
        key["schedule"] = tuned or linear
        if linear and tuned:
            key |= {"first": linear, "alphas": list(config.alphas)}
        key["choose"] = None if config.choose is None else config.choose.model_dump(mode="json")
        # Left out at their defaults, so that cells of earlier versions are used again.
        if config.choose_per_class is not None:
            key["choose_per_class"] = config.choose_per_class
        if config.checks != LabelsConfig.model_fields["checks"].default:
            key["checks"] = config.checks
        return key
