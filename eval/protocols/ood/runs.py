"""The runs of a benchmark: one training each, and everything that determines it; nothing is trained here."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from eval.algorithms import algorithms
from eval.protocols.ood.config import OodConfig
from eval.protocols.ood.settings import apply_setting, as_pairs
from eval.registry import selection_rules
from imu_video.config import digest


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training: everything that determines it besides scenario, schedule and data.

    Args:
        model: name of a model of the config.
        algorithm: registered name.
        setting: its arguments and perhaps keys of the training (`settings.OF_TRAINING`), as sorted pairs.
        target: the target domain.
        held: a source domain that is left out as well, for rules that leave source domains out; None otherwise.
        seed: seed of this run.
    """

    model: str
    algorithm: str
    setting: tuple[tuple[str, Any], ...]
    target: str
    held: str | None
    seed: int

    @property
    def key(self) -> str:
        """12 hex digits that name this run's file."""
        return digest({**vars(self), "setting": [list(pair) for pair in self.setting]})


def runs(config: OodConfig, domains: list[str]) -> list[Run]:
    """Every run of a benchmark, seeds outermost, so that whole seeds finish first.

    Raises:
        ConfigError: an unknown algorithm or argument.
    """
    targets = config.scenario.targets or domains
    rules = [selection_rules.get(rule) for rule in config.selection]
    leave_out = any(rule.leaves_out for rule in rules)
    # A rule that selects among checkpoints as well has something to select even with a single setting.
    always = any(rule.leaves_out and rule.every_checkpoint for rule in rules)
    out = []
    for seed, model, entry, target in itertools.product(config.seeds, config.models, config.algorithms, targets):
        settings = config.settings(entry, seed)
        for setting in settings:
            # Validates the arguments before the first run starts.
            _, arguments = apply_setting(config.training, setting, source=f"algorithm {entry.name!r}")
            algorithms.arguments({"name": entry.name, **arguments})
            held: list[str | None] = [None]
            # With a single setting there is nothing to select, so runs without a source domain would be wasted.
            if leave_out and (len(settings) > 1 or always):
                held += [d for d in domains if d != target]
            out += [
                Run(
                    model=model.name,
                    algorithm=entry.name,
                    setting=as_pairs(setting),
                    target=target,
                    held=h,
                    seed=seed,
                )
                for h in held
            ]
    return out
