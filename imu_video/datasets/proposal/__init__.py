"""Propose a `dataset.yaml` for a folder of files, with the evidence for every guess; builds nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.datasets.proposal.columns import propose_columns
    from imu_video.datasets.proposal.document import Proposal, propose, write_proposal

__all__ = ["Proposal", "propose", "propose_columns", "write_proposal"]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {"columns": ["propose_columns"], "document": ["Proposal", "propose", "write_proposal"]},
)
