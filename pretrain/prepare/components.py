"""The component entries of a config, each validated once; building them is prepare.py's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from imu_video import registry
from imu_video.errors import ConfigError
from imu_video.losses import LossMix, Term
from imu_video.objectives import ObjectiveMix
from imu_video.registry import Entry
from pretrain.config import DIM, DataFolder, PretrainConfig, TextSection


@dataclass(frozen=True, kw_only=True)
class Components:
    """Every component of a run: validated and complete, not built.

    Args:
        encoder: the student.
        augment: augmentations of windows, in order.
        folder_augment: those of each data folder, None where it has none of its own.
        clip_augment: augmentations of clips, in order.
        tower: encoder of another modality that is trained jointly, None without one.
        live_teacher: teacher that computes features during training, None without one.
        losses, objectives: terms with their weights.

    Example:
        >>> from pretrain.config import DataSection, OptimSection
        >>> config = PretrainConfig(data=DataSection(root="data/demo"), optim=OptimSection(steps=3))
        >>> Components.of(config).with_widths(dim=64).losses[0].entry.config
        {'name': 'info_nce', 'temperature': 0.07, 'learned': True}
    """

    encoder: Entry[Any]
    augment: tuple[Entry[Any], ...]
    folder_augment: tuple[tuple[Entry[Any], ...] | None, ...]
    clip_augment: tuple[Entry[Any], ...]
    tower: Entry[Any] | None
    live_teacher: Entry[Any] | None
    losses: tuple[Term, ...]
    objectives: tuple[Term, ...]

    @classmethod
    def of(cls, config: PretrainConfig) -> Components:
        """Validate the entries of a config.

        Raises:
            ConfigError: unknown component or argument, or a value of the wrong type.
        """
        # What only the data folders determine gets a provisional value here: no need depends on it. See `with_data`.
        return cls(
            encoder=registry.encoders.entry(config.encoder, channels=6, samples=100),
            augment=_augmentations(config.augment, "augment"),
            folder_augment=tuple(
                None
                if folder.augment is None
                else _augmentations(folder.augment, f"{folder.root}: data.root.{i}.augment")
                for i, folder in enumerate(config.data.folders)
            ),
            clip_augment=tuple(registry.clip_augmentations.entry(entry) for entry in config.data.clip_augment),
            tower=None if config.tower is None else _tower(config.tower),
            live_teacher=_optional(registry.teachers, config.data.live_teacher),
            losses=LossMix.parse(config.loss, registry.losses, dim=DIM, teacher_dim=DIM),
            objectives=ObjectiveMix.parse(config.objective, registry.objectives),
        )

    def with_data(self, *, encoder: Mapping[str, Any], tower: Mapping[str, Any] = MappingProxyType({})) -> Components:
        """Fill in what the data folders determine and the config leaves out.

        Args:
            encoder: arguments of the encoder that the windows determine (`InputSpec.encoder_context`).
            tower: arguments of the tower that the data determine, such as joint names (`StreamSpec.context`).
        """
        return replace(
            self,
            encoder=self.encoder.filled(**encoder),
            tower=None if self.tower is None else self.tower.filled(**tower),
        )

    def code(self) -> dict[str, str]:
        """Hash of the source of each component that does not belong to this package, by kind and name."""
        used: dict[str, type] = {f"encoder {self.encoder.name}": self.encoder.component}
        used |= {f"augmentation {entry.name}": entry.component for entry in self.augment}
        own = [entry for entries in self.folder_augment for entry in entries or ()]
        used |= {f"augmentation {entry.name}": entry.component for entry in own}
        used |= {f"clip augmentation {entry.name}": entry.component for entry in self.clip_augment}
        if self.tower is not None:
            used[f"tower {self.tower.name}"] = self.tower.component
            modality = str(self.tower.component.modality)
            used[f"modality {modality}"] = registry.modalities.get(modality)
        if self.live_teacher is not None:
            used[f"teacher {self.live_teacher.name}"] = self.live_teacher.component
        used |= {f"loss {term.entry.name}": term.entry.component for term in self.losses}
        used |= {f"objective {term.entry.name}": term.entry.component for term in self.objectives}
        return {name: found[:16] for name, kind in used.items() if (found := registry.source_hash(kind)) is not None}

    def with_widths(self, *, dim: int, teacher_dim: int | None = None, text_dim: int | None = None) -> Components:
        """Fill in the widths of embeddings and of teacher features that losses need and the config leaves out.

        Args:
            dim: D, >= 1.
            teacher_dim: Dt, None without a teacher.
            text_dim: W of the sentence embeddings of texts, None without texts.
        """
        widths = {"dim": dim} | ({} if teacher_dim is None else {"teacher_dim": teacher_dim})
        text = {} if text_dim is None else {"text_dim": text_dim}
        return replace(
            self,
            losses=tuple(replace(term, entry=term.entry.filled(**widths)) for term in self.losses),
            objectives=tuple(replace(term, entry=term.entry.filled(**text)) for term in self.objectives),
        )


def resolve(
    config: PretrainConfig,
    components: Components,
    *,
    dim: int,
    teacher: str,
    precision: str,
    paired: bool = True,
    text: TextSection | None = None,
) -> PretrainConfig:
    """The config with every default and every automatic choice written out: what is saved in the run.

    Args:
        config: as read.
        components: of this config, with data and widths.
        dim: embedding width D.
        teacher: full fingerprint of the cached teacher, ``live`` or ``none``.
        precision: what ``auto`` means on this machine.
        paired: windows are paired with a video side.
        text: complete section of the texts, None without texts.
    """
    live = components.live_teacher
    best = config.run.best if config.run.best != "auto" else "mrr" if paired else "loss"
    # Every value was validated in `Components.of` or comes from this program: the copies need no second validation.
    data = config.data.model_copy(
        update={
            "root": config.data.root if isinstance(config.data.root, str) else _roots(config, components),
            "teacher": teacher,
            "live_teacher": None if live is None else live.config,
            "clip_augment": tuple(entry.config for entry in components.clip_augment),
            "text": text,
        }
    )
    return config.model_copy(
        update={
            "data": data,
            "encoder": components.encoder.config,
            "projector": config.projector.model_copy(update={"dim": dim}),
            "augment": tuple(entry.config for entry in components.augment),
            "tower": None if components.tower is None else components.tower.config,
            "loss": _weighted(config.loss, components.losses),
            "objective": _weighted(config.objective, components.objectives),
            "run": config.run.model_copy(update={"precision": precision, "best": best}),
        }
    )


def _augmentations(entries: Sequence[Mapping[str, Any]], where: str) -> tuple[Entry[Any], ...]:
    """Validated entries; an error names the key ``where``, because a mixture has several lists of augmentations."""
    found = []
    for number, entry in enumerate(entries):
        try:
            found.append(registry.augmentations.entry(entry))
        except ConfigError as error:
            raise ConfigError(f"{where}.{number}: {error.message}", hint=error.hint) from error
    return tuple(found)


def _roots(config: PretrainConfig, components: Components) -> tuple[DataFolder, ...]:
    """The folders of a mixture with complete augmentations."""
    return tuple(
        folder if own is None else folder.model_copy(update={"augment": tuple(entry.config for entry in own)})
        for folder, own in zip(config.data.folders, components.folder_augment, strict=True)
    )


def _tower(config: Mapping[str, Any]) -> Entry[Any]:
    modality = registry.modalities.get(registry.towers.get(str(config["name"])).modality)
    return registry.towers.entry(config, **modality.spec.provisional)


def _optional(components: registry.Registry[Any], entry: Mapping[str, Any] | None) -> Entry[Any] | None:
    return None if entry is None else components.entry(entry)


def _weighted(entries: Sequence[Mapping[str, Any]], terms: Sequence[Term]) -> tuple[dict[str, Any], ...]:
    # The weight as the config gives it: the arguments of a ramp stay what a reader wrote.
    return tuple(
        {"name": term.entry.name, "weight": entry.get("weight", 1.0)} | term.entry.config
        for entry, term in zip(entries, terms, strict=True)
    )
