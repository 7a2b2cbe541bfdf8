"""What a run requires of data and model, stated by its losses; checks.py compares it with what there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from imu_video.losses.base import PAIRED
from pretrain.config import PretrainConfig
from pretrain.prepare.components import Components


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a run computes.

    Args:
        pair: keys of `losses.base.NEEDS`: what the losses read besides the IMU embedding.
        tower: modality of the jointly trained encoder that takes the teacher's place; None without one.
        fixed: names of losses whose target must not be trained.
        queues: rows of each loss's queue, by name; losses without one are absent.
        text: whether an objective needs the texts of windows.
        alone: whether a loss or objective trains on windows without a pair.
    """

    pair: frozenset[str]
    tower: str | None
    fixed: tuple[str, ...] = ()
    queues: Mapping[str, int] = field(default_factory=dict)
    text: bool = False
    alone: bool = False

    @classmethod
    def of(cls, components: Components) -> Needs:
        """The needs of validated components; no loss is built."""
        stated = {term.name: term.needs for term in components.losses}
        texts = [bool(getattr(term.entry.component, "needs_text", False)) for term in components.objectives]
        return cls(
            pair=frozenset().union(*(needs.inputs for needs in stated.values())),
            tower=None if components.tower is None else str(components.tower.component.modality),
            fixed=tuple(name for name, needs in stated.items() if needs.fixed_target),
            queues={name: needs.queue_size for name, needs in stated.items() if needs.queue_size},
            text=any(texts),
            alone=not all(texts) or any(not needs.inputs & PAIRED for needs in stated.values()),
        )

    @property
    def teacher(self) -> bool:
        """Whether a frozen teacher is required."""
        return "teacher" in self.pair or ("side" in self.pair and not self.tower)

    @property
    def streams(self) -> tuple[str, ...]:
        """Streams of other modalities that batches must contain."""
        return (self.tower,) if self.tower is not None and self.pair & {"side", "segments"} else ()

    @property
    def devices(self) -> bool:
        """Whether batches must contain the windows of all devices."""
        return "devices" in self.pair

    @property
    def augmented_pair(self) -> bool:
        """Whether batches must contain a second augmented copy of each window."""
        return "augmented_pair" in self.pair


def needs_of(config: PretrainConfig) -> Needs:
    """What a config requires; no loss is built.

    Raises:
        ConfigError: an unknown component or argument.

    Example:
        >>> from pretrain.config import DataSection, OptimSection
        >>> sorted(needs_of(PretrainConfig(data=DataSection(root="d"), optim=OptimSection(steps=3))).pair)
        ['side']
    """
    return Needs.of(Components.of(config))
