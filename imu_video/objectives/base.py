"""Common parts of objectives: the base module and the weighted mix; no specific tasks.

A loss is a function of embeddings that the trainer has computed. An objective receives the student: it may mask or
change windows, run the student more than once, and creates the heads that it needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from imu_video import registry
from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.text import TextHead
from imu_video.losses.mix import Term, WeightedSum
from imu_video.runtime.distributed import GlobalDraws
from imu_video.teachers.sentences import TextTable
from imu_video.types import LossOutput, PairBatch


class Objective(nn.Module, ABC):
    """Base class of objectives on the student and raw windows.

    The constructor takes config values; `attach` creates the heads for one student. All random numbers come from
    ``draws``, so that the result does not depend on the number of processes. The mean of the loss over ranks is the
    loss of the whole batch.

    Example:
        A file for ``--plugin``::

            @registry.objectives.register("speed")
            class Speed(Objective):
                def __init__(self, *, hidden: int = 32) -> None: ...
                def attach(self, student): self.head = nn.Linear(student.head_dim, 1)
                def forward(self, student, batch, draws): ...

    Attributes:
        needs_text: whether batches must contain `PairBatch.text`; `adopt_texts` is then called once before the run.
    """

    needs_text: ClassVar[bool] = False

    def adopt_texts(self, texts: TextTable, activities: TextTable) -> None:
        """Called once before a run with the texts that `PairBatch.text` numbers; most objectives need none.

        Args:
            texts: the K texts of the windows.
            activities: common activities, which may be asked for after the run.
        """

    def observe(self) -> None:
        """Called once after each optimiser step; most objectives have nothing to do."""

    def text_head(self, student: EncoderBundle, facts: Mapping[str, Any]) -> TextHead | None:
        """The trained text head, which is exported with the student; None for objectives without one.

        Args:
            student: the trained encoder.
            facts: text encoder, templates and names of the texts, as stored with each checkpoint.
        """
        return None

    @abstractmethod
    def attach(self, student: EncoderBundle) -> None:
        """Create the heads for this student; called once, before the first `forward`.

        Raises:
            ConfigError: the student is not suitable, for example because it has no features over time.
        """

    @abstractmethod
    def forward(self, student: EncoderBundle, batch: PairBatch, draws: GlobalDraws) -> LossOutput:
        """The loss of this rank's rows.

        Args:
            student: the encoder in training; ``student.head_features(imu, mask)``, ``student.tokens(imu, mask)``.
            batch: windows in SI units, after the augmentations of the run.
            draws: source of all random numbers.
        """


class ObjectiveMix(WeightedSum):
    """A weighted sum of objectives, each logged under its own name; weights as in `LossMix`."""

    @classmethod
    def build(cls, entries: Sequence[Mapping[str, Any] | str], *, student: EncoderBundle) -> ObjectiveMix:
        """Build from config entries and attach to a student.

        Args:
            entries: names or mappings with an optional ``weight``.
            student: encoder that the objectives train.
        """
        return cls.of_terms(cls.parse(entries, registry.objectives), student=student)

    @classmethod
    def of_terms(cls, terms: Sequence[Term], *, student: EncoderBundle) -> ObjectiveMix:
        """Build the objectives of validated terms, each once, and attach them to a student."""
        objectives = {term.name: (term.weight, term.entry.build()) for term in terms}
        for _, objective in objectives.values():
            objective.attach(student)
        return cls(objectives)

    def adopt_texts(self, texts: TextTable, activities: TextTable) -> None:
        """Pass the texts on to every objective that needs them."""
        for objective in self.losses.values():
            if isinstance(objective, Objective) and objective.needs_text:
                objective.adopt_texts(texts, activities)

    def text_head(self, student: EncoderBundle, facts: Mapping[str, Any]) -> TextHead | None:
        """The text head of the first objective that has one."""
        heads = (one.text_head(student, facts) for one in self.losses.values() if isinstance(one, Objective))
        return next((head for head in heads if head is not None), None)

    def observe(self) -> None:
        """Tell every objective that a step was taken, then count it."""
        for objective in self.losses.values():
            if isinstance(objective, Objective):
                objective.observe()
        self.count()

    def forward(self, student: EncoderBundle, batch: PairBatch, draws: GlobalDraws) -> LossOutput:
        """Weighted total of all objectives."""
        return self.combine({name: objective(student, batch, draws) for name, objective in self.losses.items()})
