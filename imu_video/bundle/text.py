"""The text head of an encoder: features to the space of sentence embeddings; it is trained by `objectives`."""

from __future__ import annotations

from torch import nn

__all__ = ["make_head"]


def make_head(*, features: int, width: int, hidden: int | None, dropout: float = 0.0) -> nn.Module:
    """The network of a text head, before the normalisation to unit length.

    Args:
        features: E.
        width: W of the sentence embeddings.
        hidden: width of the hidden layer; None: one linear map.
        dropout: rate behind the hidden layer, in training.

    Shapes: (N, E) -> (N, W).
    """
    if hidden is None:
        return nn.Sequential(nn.LayerNorm(features), nn.Linear(features, width))
    return nn.Sequential(
        nn.LayerNorm(features),
        nn.Linear(features, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, width),
    )
