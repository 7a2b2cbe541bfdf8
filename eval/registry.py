"""Registries of evaluation: protocols, probes, algorithms and selection rules; their interfaces are in their packages.

They are kept apart from the components so that a result line can validate its kind, and a report can find its sections,
without importing any protocol.
"""

from __future__ import annotations

from typing import Any

from imu_video.registry import Registry

protocols: Registry[Any] = Registry("protocol", "eval.protocols", listed_by="imu-eval list")
probes: Registry[Any] = Registry("probe", "eval.probes", listed_by="imu-eval list")
algorithms: Registry[Any] = Registry("algorithm", "eval.algorithms", listed_by="imu-eval list")
selection_rules: Registry[Any] = Registry("selection rule", "eval.protocols.ood.selection", listed_by="imu-eval list")

ALL: dict[str, Registry[Any]] = {
    "protocols": protocols,
    "probes": probes,
    "algorithms": algorithms,
    "selection_rules": selection_rules,
}
"""Every registry by its plural name, as ``imu-eval list`` shows them."""
