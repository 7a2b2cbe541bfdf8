"""Encoders, other sides and features that the methods of a limited-label run use; nothing is trained here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from eval.data.features import check_channels, encoder_features, for_encoder, untrained_twin
from eval.data.splits import refuse_training_subjects
from eval.data.windows import LabelledWindows, streams_of
from eval.finetune.config import Inputs
from eval.finetune.network import measured
from eval.finetune.spread import side_by_side
from eval.protocols.limited_labels.config import LabelsConfig, Method
from eval.protocols.limited_labels.subjects import Groups
from imu_video.bundle.encoder import EncoderBundle
from imu_video.errors import ConfigError
from imu_video.registry import trained_modalities
from imu_video.runtime.files import file_sha256

if TYPE_CHECKING:
    from eval.data.source import LabelledData
    from imu_video.sides import TowerBundle


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """Features of the other side (a teacher, or an encoder of another modality) for every window.

    Args:
        name: where they come from; part of the identity of every cell that uses them.
        features: (N, Dt), NaN rows for windows without any.
        tower: the encoder of the other modality itself, where one was exported.
        inputs: (N, ...) samples of its modality, the input of ``tower``.
    """

    name: str
    features: np.ndarray
    tower: TowerBundle | None = None
    inputs: torch.Tensor | None = None


class Features:
    """Encoders and features of one model, one for all seeds or one per seed; each feature array is computed once.

    Args:
        groups: pool, validation and test windows.
        bundles: one encoder for all seeds, or one per seed in the order of ``config.seeds``.
        weights: digest of each bundle's weights.
        model: name of the encoder in tables and errors.
        config: of the run.
        sides: the encoder of another modality trained with each bundle; empty = features of the cached teacher.

    Raises:
        ConfigError: numbers of encoders and seeds that do not match, other channels, or a missing teacher.
        LeakageError: a test subject was in an encoder's pretraining.
    """

    def __init__(
        self,
        *,
        groups: Groups,
        bundles: Sequence[EncoderBundle],
        weights: Sequence[str],
        model: str,
        config: LabelsConfig,
        sides: Sequence[Side] = (),
    ) -> None:
        _validate(groups.windows, bundles, model, config, sides)
        for bundle in bundles:
            refuse_training_subjects(bundle.lineage, groups.windows, groups.test)
        self.groups, self.model, self.seeds = groups, model, config.seeds
        self.bundles, self.weights, self.sides = list(bundles), list(weights), list(sides)
        self._encoded: dict[tuple[str, int], np.ndarray] = {}

    def bundle(self, place: int) -> EncoderBundle:
        """The encoder of a seed, given by its place in ``config.seeds``."""
        return self.bundles[place if len(self.bundles) > 1 else 0]

    def digest(self, place: int) -> str:
        """Digest of the weights of a seed's encoder."""
        return self.weights[place if len(self.weights) > 1 else 0]

    def side(self, method: Method, place: int) -> Side:
        """The other side of a method: the encoder exported beside the IMU encoder, or the cached teacher."""
        if self.sides and method.start == "encoder":
            return self.sides[place if len(self.sides) > 1 else 0]
        windows = self.groups.windows
        assert windows.teacher is not None
        return Side(name=str(windows.teacher_name), features=windows.teacher)

    def joint_side(self, method: Method, place: int) -> Side:
        """The encoder that a method trains jointly with the IMU encoder, and its input for all windows.

        Raises:
            ConfigError: the encoder was exported without one of that modality, or a window lacks the modality.
        """
        side = self.sides[place if len(self.sides) > 1 else 0] if self.sides else None
        if side is None or side.tower is None or side.inputs is None or side.tower.modality != method.along:
            raise ConfigError(
                f"method {method.name!r} trains a {method.along} encoder, but {self.model} was exported without one",
                hint=f"pretrain with a tower and export --with-side {method.along}",
            )
        self._require_complete(method, side.features)
        return side

    def of(self, method: Method, inputs: Inputs, place: int) -> np.ndarray:
        """Features (N, E) of all windows; blocks are scaled on the pool alone."""
        if inputs == "imu":
            return self._imu(method.start, place)
        blocks = [self._video(method, place)]
        if inputs == "fused":
            blocks.insert(0, self._imu(method.start, place))
        return side_by_side(*blocks, reference=self.groups.pool)

    def video(self, method: Method, place: int) -> torch.Tensor:
        """Scaled features of the other side (N, Dt), as further input of a network."""
        scaled = side_by_side(self._video(method, place), reference=self.groups.pool)
        return torch.from_numpy(scaled).float()

    def imu(self, bundle: EncoderBundle) -> tuple[torch.Tensor, torch.Tensor]:
        """All windows at the encoder's rate without NaN, and the mask of measured samples; both (N, C, T)."""
        return measured(for_encoder(self.groups.windows, bundle.spec, name=self.model).x)

    def _imu(self, start: str, place: int) -> np.ndarray:
        slot = ("encoder", place if len(self.bundles) > 1 else 0) if start == "encoder" else ("random", place)
        if slot not in self._encoded:
            bundle = self.bundle(place)
            if start == "random":
                bundle = untrained_twin(bundle, self.seeds[place])
            self._encoded[slot] = encoder_features(bundle, self.groups.windows)
        return self._encoded[slot]

    def _video(self, method: Method, place: int) -> np.ndarray:
        features = self.side(method, place).features
        self._require_complete(method, features)
        return features

    def _require_complete(self, method: Method, features: np.ndarray) -> None:
        """Refuse missing rows among the windows that a method uses."""
        groups = self.groups
        validation = groups.choose if method.trains else groups.choose[:0]
        used = np.concatenate([groups.pool, groups.test, validation])
        missing = int((~np.isfinite(features[used]).all(axis=1)).sum())
        if missing:
            raise ConfigError(
                f"method {method.name!r}: {missing} of {len(used)} windows have no features of the video side",
                hint="embed with a teacher whose modality every recording has, or filter pool and test",
            )


def _validate(
    windows: LabelledWindows, bundles: Sequence[EncoderBundle], model: str, config: LabelsConfig, sides: Sequence[Side]
) -> None:
    if len(bundles) not in (1, len(config.seeds)):
        raise ConfigError(
            f"{model}: {len(bundles)} encoders for {len(config.seeds)} seeds; expected one, or one per seed",
            hint="put the encoders of all seeds into one folder, or set seeds=[0]",
        )
    if sides and len(sides) != len(bundles):
        raise ConfigError(
            f"{model}: {len(sides)} of {len(bundles)} encoders were exported with an encoder of another modality",
            hint="export all seeds with --with-side, or none",
        )
    needy = [m.name for m in config.methods if m.uses_teacher and not (sides and m.start == "encoder")]
    if needy and windows.teacher is None:
        raise ConfigError(
            f"methods {needy} require cached teacher features", hint="embed the data, and set teacher=NAME"
        )
    for bundle in bundles:
        check_channels(windows, bundle.spec, name=model)


def copied(bundle: EncoderBundle) -> EncoderBundle:
    """A copy of an encoder that shares no tensor."""
    copy = EncoderBundle(spec=bundle.spec, encoder=bundle.encoder_config)
    copy.load_state_dict(bundle.state_dict())
    return copy


def sides_of(folders: Sequence[Path], windows: LabelledWindows, data: LabelledData) -> list[Side]:
    """The encoders of another modality that were exported with the encoders (``FOLDER/<modality>``), if any.

    Raises:
        ConfigError: encoders of several modalities, or data without the modality.
    """
    from imu_video.sides import load_tower

    inside = [
        folder / modality
        for folder in folders
        for modality in trained_modalities()
        if (folder / modality / "config.json").is_file()
    ]
    if not inside:
        return []
    found = sorted({folder.name for folder in inside})
    if len(found) > 1:
        raise ConfigError(
            f"{inside[0].parent}: encoders of several modalities were exported with it: {', '.join(found)}",
            hint="keep one of these folders beside the encoder",
        )
    samples = streams_of(windows, data.index, found[0])
    inputs, out = torch.from_numpy(samples), []
    for folder in inside:
        weights = file_sha256(folder / "model.safetensors")[:12]
        tower = load_tower(folder)
        out.append(Side(name=f"tower {weights}", features=tower.encode(samples), tower=tower, inputs=inputs))
    return out
