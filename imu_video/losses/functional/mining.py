"""Cross-modal knowledge mining: positives, negatives and weights from similarities inside a modality; pure."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def released_mining(
    cross: Tensor,
    intra: Tensor,
    cross_guide: Tensor,
    intra_guide: Tensor,
    positives: Tensor,
    *,
    scale: Tensor | float,
    top_k: int,
    intra_weight: float,
) -> Tensor:
    """One direction of the loss of CMC-CMKM as its authors released it.

    Brinzea et al. 2022, IJCNN. P_i = the own column and the top_k others by the guide of the other modality, Q_i = the
    top_k others by that of the anchor's; s across modalities over the temperature, c cosines within the anchor's:
    A_i = sum_{P_i} exp(s_ij) + sum_{Q_i} exp(c_ij), where the second sum is left out for lambda = 0;
    B_i = sum_{not P_i} exp(s_ij) + lambda sum_{j != i, not Q_i} exp(c_ij); L = mean_i log(1 + B_i / A_i).

    Args:
        cross: (B, N) cosines of own rows to the other modality's columns.
        intra: (B, N) cosines of own rows to the columns of their own modality; the temperature does not apply to them.
        cross_guide, intra_guide: (B, N) similarities used for mining; no gradient passes.
        positives: (B,) int64, the column that belongs to each row.
        scale: 1 / temperature.
        top_k: mined positives per row, >= 0; at most N - 1 are used.
        intra_weight: lambda >= 0.

    Shapes: -> () scalar.

    Example:
        >>> c = torch.zeros(4, 4)
        >>> settings = dict(scale=1.0, top_k=0, intra_weight=0.0)
        >>> round(float(released_mining(c, c, c, c, torch.arange(4), **settings)), 4)
        1.3863
    """
    own = torch.zeros_like(cross, dtype=torch.bool).scatter_(1, positives[:, None], True)
    mined = min(top_k, cross.shape[1] - 1)
    across, inside = (
        torch.zeros_like(own).scatter(1, guide.detach().masked_fill(own, -math.inf).topk(mined, dim=1).indices, True)
        for guide in (cross_guide, intra_guide)
    )
    logits = scale * cross
    numerator = [logits.masked_fill(~(own | across), -math.inf)]
    everything = [logits]
    if intra_weight > 0:
        positive = intra.masked_fill(~inside, -math.inf)
        numerator.append(positive)
        everything += [positive, (intra + math.log(intra_weight)).masked_fill(inside | own, -math.inf)]
    return (torch.cat(everything, dim=1).logsumexp(1) - torch.cat(numerator, dim=1).logsumexp(1)).mean()


def cross_modal_mining(
    cross: Tensor,
    intra: Tensor,
    guide: Tensor,
    connectivity: Tensor,
    positives: Tensor,
    *,
    scale: Tensor | float,
    top_k: int,
    prune: float,
    intra_weight: float,
    connectivity_scale: float,
) -> Tensor:
    """One direction of a contrastive loss whose positives and negatives are mined.

    The ideas are from CMC-CMKM (Brinzea et al. 2022, IJCNN), the exact equation is ours. With g the
    guiding similarities and c_j the mean of g_jk over k != j (connectivity):
    P_i = the own column and the top_k others of largest g_ij; X = the share ``prune`` of columns of largest c_j;
    N_i = all columns but P_i and X; u_i = exp(gamma c_i) / mean_j exp(gamma c_j);
    Z_i = sum_{P_i and N_i} exp(s_ij) + lambda sum_{N_i} exp(t_ij), s across and t inside the modalities, over the
    temperature; L = mean_i u_i (1/|P_i|) sum_{p in P_i} (log Z_i - s_ip).
    With top_k, prune, lambda and gamma all 0 it is InfoNCE.

    Args:
        cross: (B, N) cosines of own rows to the other modality's columns.
        intra: (B, N) cosines of own rows to the columns of their own modality.
        guide: (B, N) similarities used for mining; no gradient passes.
        connectivity: (N,) c of every column; no gradient passes.
        positives: (B,) int64, the column that belongs to each row.
        scale: 1 / temperature.
        top_k: mined positives per row, >= 0; at most N - 1 are used.
        prune: share of columns that are excluded from the negatives, in [0, 1).
        intra_weight: lambda >= 0.
        connectivity_scale: gamma; above 0, well-connected windows get larger weights.

    Shapes: -> () scalar.

    Example:
        >>> c = torch.zeros(4, 4)
        >>> settings = dict(scale=1.0, top_k=0, prune=0.0, intra_weight=0.0, connectivity_scale=0.0)
        >>> round(float(cross_modal_mining(c, c, c, torch.zeros(4), torch.arange(4), **settings)), 4)
        1.3863
    """
    columns = cross.shape[1]
    own = torch.zeros_like(cross, dtype=torch.bool).scatter_(1, positives[:, None], True)
    mined = min(top_k, columns - 1)
    best = guide.detach().masked_fill(own, -math.inf).topk(mined, dim=1).indices
    positive = own.scatter(1, best, True)
    crowded = torch.zeros_like(connectivity, dtype=torch.bool)
    crowded[connectivity.topk(int(prune * columns)).indices] = True
    negative = ~positive & ~crowded
    logits = scale * cross
    candidates = [logits.masked_fill(~(positive | negative), -math.inf)]
    # lambda exp(t) is exp(t + log lambda). log 0 is -inf, so a weight of 0 adds no candidates at all.
    if intra_weight > 0:
        candidates.append((scale * intra + math.log(intra_weight)).masked_fill(~negative, -math.inf))
    normaliser = torch.cat(candidates, dim=1).logsumexp(1, keepdim=True)
    cost = torch.where(positive, normaliser - logits, 0).sum(1) / positive.sum(1)
    # Subtracting the maximum cancels in the division by the mean; it keeps exp from overflowing for large gamma.
    strength = (connectivity_scale * (connectivity - connectivity.max())).exp()
    return (cost * (strength / strength.mean())[positives]).mean()
