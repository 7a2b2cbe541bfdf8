"""The minimiser behind batched logistic regression: quasi-Newton steps from a quadratic bound, all episodes at once.

With K = Z Z^T = L L^T and W = Z^T L^-T V the problem

    minimise  1/2 |W|^2 + C sum_i -sum_m q_im log softmax(z_i W + b)_m

is the same with L (n, n) in place of Z (n, E) and |V| in place of |W|. Its Hessian is at most H = I + C/2 P^T P with
P = [L, 1] (no I for the intercept), since that of the log-sum-exp is at most 1/2 (Boehning 1992, Annals of the
Institute of Statistical Mathematics). H^-1 starts a limited-memory BFGS (Liu and Nocedal 1989), whose first step
therefore needs no search.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MEMORY = 6
"""Pairs of moves and gradient changes that the quasi-Newton steps remember."""

_CHECK = 4
"""Steps between looks for finished episodes."""


def minimise(inputs: Tensor, targets: Tensor, *, c: float, tolerance: float, steps: int) -> Tensor:
    """V and intercept of every episode; finished episodes leave the batch.

    Args:
        inputs: P, the kernel's factor and a column of ones.
        targets: rows that sum to one.
        c: C > 0.
        tolerance: largest gradient component, relative to C, at which an episode is done.
        steps: at most so many.

    Shapes: inputs (B, n, d + 1), targets (B, n, M) -> (B, d + 1, M).
    """
    batch, _, width = inputs.shape
    penalty = inputs.new_ones(width, 1)
    penalty[width - 1] = 0.0
    bound = 0.5 * c * inputs.transpose(1, 2) @ inputs + torch.diag(penalty[:, 0])
    metric = torch.cholesky_inverse(torch.linalg.cholesky(bound))
    out = inputs.new_zeros(batch, width, targets.shape[2])
    left = torch.arange(batch)
    v = out.clone()
    loss, gradient = _loss(inputs, targets, penalty, v, c)
    moves: list[Tensor] = []
    turns: list[Tensor] = []
    for step in range(steps):
        if step % _CHECK == 0:
            done = gradient.abs().amax(dim=(1, 2)) < tolerance * c
            if bool(done.any()):
                out[left[done]] = v[done]
                keep = ~done
                left, inputs, targets, metric = left[keep], inputs[keep], targets[keep], metric[keep]
                v, loss, gradient = v[keep], loss[keep], gradient[keep]
                moves, turns = [m[keep] for m in moves], [t[keep] for t in turns]
                if not len(left):
                    return out
        direction = -_apply_inverse(metric, gradient, moves, turns)
        slope = _dot(gradient, direction)
        length = inputs.new_ones(len(left), 1, 1)
        for _ in range(30):
            tried = v + length * direction
            new_loss, new_gradient = _loss(inputs, targets, penalty, tried, c)
            bad = new_loss > loss + 1e-4 * length[:, 0, 0] * slope + 1e-6 * loss.abs()
            if not bool(bad.any()):
                break
            length = torch.where(bad[:, None, None], length / 2, length)
        move, turn = tried - v, new_gradient - gradient
        v, loss, gradient = tried, new_loss, new_gradient
        moves, turns = [*moves[1 - _MEMORY :], move], [*turns[1 - _MEMORY :], turn]
    out[left] = v
    return out


def _loss(inputs: Tensor, targets: Tensor, penalty: Tensor, v: Tensor, c: float) -> tuple[Tensor, Tensor]:
    """Loss (B,) and gradient (B, n + 1, M)."""
    log_share = (inputs @ v).log_softmax(dim=2)
    loss = 0.5 * (penalty * v * v).sum(dim=(1, 2)) - c * (targets * log_share).sum(dim=(1, 2))
    gradient = torch.baddbmm(penalty * v, inputs.transpose(1, 2), log_share.exp() - targets, alpha=c)
    return loss, gradient


def _apply_inverse(metric: Tensor, gradient: Tensor, moves: list[Tensor], turns: list[Tensor]) -> Tensor:
    """The limited-memory BFGS inverse Hessian times the gradient, with ``metric`` (B, d, d) as its start.

    Pairs of no positive curvature, which rounding makes near the minimum, are passed over.
    """
    q = gradient
    held = []
    for move, turn in zip(reversed(moves), reversed(turns), strict=True):
        curvature = _dot(move, turn)
        rho = torch.where(curvature > 1e-12, 1 / curvature.clamp(min=1e-12), 0.0)[:, None, None]
        alpha = rho * _dot(move, q)[:, None, None]
        q = q - alpha * turn
        held.append((move, turn, rho, alpha))
    q = metric @ q
    for move, turn, rho, alpha in reversed(held):
        q = q + move * (alpha - rho * _dot(turn, q)[:, None, None])
    return q


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=(1, 2))
