"""The base of protocols on one encoder and one data folder: common options, config and provenance; measures nothing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.config import EvalConfig
from eval.options import encoder_provenance, load_evaluation
from eval.protocol import Context, Protocol
from eval.results.lines import Result

if TYPE_CHECKING:
    from imu_video.shards.schema import Index


class EncoderProtocol(Protocol):
    """Base of the protocols that evaluate one encoder on one data folder, configured by an `EvalConfig`.

    The command of a protocol is derived from the signature of its constructor. A subclass therefore lists all of its
    options itself, passes the common ones to this constructor and keeps its own.

    Args:
        encoder: encoder folder.
        data: data folder.
        config: evaluation config.
        overrides: ``section.key=value``, applied after ``short``.
        split, placement, by: replace the domains of the config, see `eval.options.make_domains`.
        short: config key -> value of a short option of the subclass; None keeps the value of the config.
    """

    Config = EvalConfig

    def __init__(
        self,
        *,
        encoder: Path,
        data: Path,
        config: Path,
        overrides: Sequence[str] | None,
        split: Sequence[str] | None,
        placement: Sequence[str] | None,
        by: Sequence[str] | None,
        short: Mapping[str, Any],
    ) -> None:
        self.encoder, self.data, self.config, self.overrides = encoder, data, config, overrides
        self.domains = {"split": split, "placement": placement, "by": by}
        self.short = short

    def check(self) -> None:
        """Validate config, overrides and the arguments of the probes; domains of short options need the data."""
        from eval.probes import probes

        config = load_evaluation(self.config, None, short=self.short, overrides=self.overrides)
        for entry in config.probe_entries:
            probes.arguments(entry)

    def run(self, context: Context) -> list[Result]:
        """Resolve config and provenance, then `evaluate`.

        Raises:
            ConfigError: an invalid config, override or domain.
            CheckpointError: the encoder folder is not a valid export.
            ShardError: the data folder has no valid index.
        """
        # Imported here, because a protocol is imported for every `imu-eval --help`.
        from imu_video.shards.reading.index import load_index

        index = load_index(self.data)
        config = load_evaluation(self.config, index, short=self.short, overrides=self.overrides, **self.domains)
        return self.evaluate(index, config, encoder_provenance(self.encoder, index, config), context)

    @abstractmethod
    def evaluate(self, index: Index, config: EvalConfig, shared: dict[str, Any], context: Context) -> list[Result]:
        """Measure and return result lines.

        Args:
            index: of the data folder.
            config: with short options, overrides and domains of the command applied.
            shared: fields that all lines share, from `eval.options.encoder_provenance`.
            context: result file and plugins.
        """
