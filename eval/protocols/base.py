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
    from eval.data.source import LabelledData
    from eval.recipes import Recipe


class EncoderProtocol(Protocol):
    """Base of the protocols that evaluate one encoder on one data folder, configured by an `EvalConfig`.

    The command of a protocol is derived from the signature of its constructor. A subclass therefore lists all of its
    options itself, passes the common ones to this constructor and keeps its own.

    Args:
        encoder: encoder folder, or a folder of encoder folders that differ in the pretraining seed.
        data: data folder or array folder.
        config: evaluation config.
        overrides: ``section.key=value``, applied after ``short``.
        split, placement, by: replace the domains of the config, see `eval.options.make_domains`.
        short: config key -> value of a short option of the subclass; None keeps the value of the config.
        also: further encoder folders of the same recipe.
    """

    Config = EvalConfig
    recipe: Recipe
    """Encoders under test, read before `evaluate`."""

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
        also: Sequence[Path] | None = None,
    ) -> None:
        self.encoder, self.also = encoder, tuple(also or ())
        self.data, self.config, self.overrides = data, config, overrides
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
            ConfigError: an invalid config, override or domain, or encoders of several recipes.
            CheckpointError: the encoder folder is not a valid export.
            DataError: neither a data folder nor an array folder, or a damaged one.
        """
        # Imported here, because a protocol is imported for every `imu-eval --help`.
        from eval.data.source import open_labelled
        from eval.recipes import read_recipe

        data = open_labelled(self.data)
        config = load_evaluation(self.config, data, short=self.short, overrides=self.overrides, **self.domains)
        self.recipe = read_recipe(self.encoder, self.also)
        return self.evaluate(data, config, encoder_provenance(self.recipe, data, config), context)

    @abstractmethod
    def evaluate(
        self, data: LabelledData, config: EvalConfig, shared: dict[str, Any], context: Context
    ) -> list[Result]:
        """Measure and return result lines.

        Args:
            data: the opened data folder or array folder.
            config: with short options, overrides and domains of the command applied.
            shared: fields that all lines share, from `eval.options.encoder_provenance`.
            context: result file and plugins.
        """
