"""Weights that a run starts from: those of an exported encoder; a finished run is continued by origin.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imu_video.bundle.encoder import EncoderBundle, InputSpec, load_encoder
from imu_video.config import changes
from imu_video.errors import CheckpointError, ConfigError
from imu_video.shards.schema import Index
from pretrain.config import PretrainConfig
from pretrain.prepare.data import blank_spec

_SAME = ("channels", "rate_hz", "gravity", "normalised")
"""Facts of the windows that the encoder and the data must share; the length of windows may differ."""


@dataclass(frozen=True, kw_only=True)
class Initial:
    """An exported encoder that a run starts from.

    Args:
        bundle: the encoder, with its normalisation and lineage.
        source: folder, name or address, for messages.
        keeps: whether the run keeps its normalisation.
    """

    bundle: EncoderBundle
    source: str
    keeps: bool

    @classmethod
    def open(cls, config: PretrainConfig) -> Initial | None:
        """Load the encoder of ``init``; None without one.

        Raises:
            CheckpointError: no such encoder, or a damaged one.
            ConfigError: an ambiguous name, or a malformed address.
        """
        section = config.init
        if section is None:
            return None
        try:
            bundle = load_encoder(section.encoder)
        except CheckpointError as error:
            raise CheckpointError(f"init: {error.message}", hint=error.hint) from error
        return cls(bundle=bundle, source=section.encoder, keeps=section.normalise == "keep")

    def adopted(self, config: PretrainConfig) -> PretrainConfig:
        """The config with the architecture of this encoder where it states none."""
        if "encoder" in config.model_fields_set:
            return config
        return config.model_copy(update={"encoder": _architecture(self.bundle)})

    def check_data(self, index: Index) -> None:
        """Refuse windows of another kind than those of the encoder.

        Raises:
            ConfigError: other channels, rate, gravity or normalisation.
        """
        own, data = self.bundle.spec, blank_spec(index)
        for fact in _SAME:
            seen, expected = getattr(data, fact), getattr(own, fact)
            if seen != expected:
                shown = [", ".join(v) if isinstance(v, tuple) else f"{v}" for v in (seen, expected)]
                hint = f"build the data folder with window.rate_hz={expected:g}" if fact == "rate_hz" else None
                raise ConfigError(
                    f"{index.root}: {fact} is {shown[0]}, the encoder {self.source} (init) was trained with {shown[1]}",
                    hint=hint or "build the data folder as that of the encoder, or leave init out",
                )

    def give_to(self, student: EncoderBundle) -> None:
        """Copy the weights into a student of the same architecture.

        Args:
            student: the encoder that is trained; changed in place.

        Raises:
            ConfigError: another architecture, or weights that depend on the length of the windows.
        """
        changed = changes(_architecture(self.bundle), _architecture(student))
        if changed:
            raise ConfigError(
                f"encoder differs from that of init {self.source}: {'; '.join(changed[:5])}",
                hint="encoder=null takes the architecture of init",
            )
        try:
            student.encoder.load_state_dict(self.bundle.encoder.state_dict())
        except RuntimeError as error:
            ours, theirs = self.bundle.spec.window_s, student.spec.window_s
            raise ConfigError(
                f"the weights of init {self.source} do not fit windows of {theirs:g} s: {str(error).splitlines()[-1]}",
                hint=f"build the data folder with window.seconds={ours:g}, as that of the encoder",
            ) from error

    def spec(self, index: Index) -> InputSpec | None:
        """The encoder's normalisation for the windows of the data; None where it is fitted to them."""
        if not self.keeps:
            return None
        return blank_spec(index).model_copy(update={"mean": self.bundle.spec.mean, "std": self.bundle.spec.std})

    def facts(self) -> dict[str, Any]:
        """Origin of the weights, for lineage."""
        return {
            "encoder": self.source,
            "weights_sha256": self.bundle.weights_sha256,
            "normalisation": "kept" if self.keeps else "fitted",
            "lineage": self.bundle.lineage,
        }


def _architecture(bundle: EncoderBundle) -> dict[str, Any]:
    """Config entry of an encoder without the arguments that its windows determine."""
    return {k: v for k, v in bundle.encoder_config.items() if k not in bundle.spec.encoder_context}
