"""The built-in evaluation protocols, one package each; importing this package registers them.

A protocol's class holds its options and returns lines, tables and sections. It is imported for every `imu-eval --help`,
so it imports what it runs (torch, encoders, data) only when it runs.
"""

from eval.protocols.fewshot.protocol import FewShot
from eval.protocols.limited_labels.protocol import LimitedLabels
from eval.protocols.ood.protocol import DomainShift
from eval.protocols.representation.protocol import Representation
from eval.protocols.retrieval.protocol import Retrieval
from eval.protocols.zeroshot.protocol import ZeroShot

__all__ = ["DomainShift", "FewShot", "LimitedLabels", "Representation", "Retrieval", "ZeroShot"]


def __dir__() -> list[str]:
    """The public names, as `dir` and tab completion list them."""
    return sorted(__all__)
