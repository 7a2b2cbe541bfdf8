"""Minimiser for batched logistic regression: conjugate gradients in the span of the windows; no scaling, no features.

With K = Z Z^T centred (see `eval.probes.many`), W = C Z^T A and scores G = C K A + b of the support, the problem

    minimise  1/2 |W|^2 + C sum_i -sum_m q_im log softmax(G_i)_m

has the gradient A - U, U = Q - softmax(G), in the span: at the minimum A = U. If the curvature of every log-sum-exp
were the same number v, one step would reach the minimum. It is a ridge regression on the working response G + U / v:

    A <- (I + C v K)^-1 (U + v G),    G <- G + (U - A) / v   with the new A

The step costs one matrix product. It serves as the preconditioned gradient of nonlinear conjugate gradients (Polak and
Ribiere 1969), with one factorisation per support. v is computed from the scores of a support whose windows are all
equally hard (`typical_margin`).

The third derivative of a log-sum-exp along a direction is at most the direction's range times the second derivative
(Bach 2010, arXiv 0910.4627). With t the Newton step length, the step length log(1 + range t) / range therefore never
increases the objective, and no line search is needed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FIRST, _EVERY = 5, 2
"""Steps before the first convergence test, and between tests."""


def minimise(kernel: Tensor, targets: Tensor, *, c: float, tolerance: float, steps: int) -> tuple[Tensor, Tensor]:
    """Coefficients ``C A`` and offsets of every support; converged supports are removed from the batch.

    Args:
        kernel: K; its rows sum to zero.
        targets: Q; the classes of a window sum to one.
        c: C > 0.
        tolerance: a support has converged when the norm of its proposed step, relative to that of its weights, is at
            most this.
        steps: largest number of steps.

    Shapes: kernel (B, n, n), targets (B, M, n) -> (B, M, n), (B, M).
    """
    batch, classes, n = targets.shape
    gain = c * kernel.diagonal(dim1=1, dim2=2).mean().item()
    margin, miss = typical_margin(gain, classes)
    # One v must serve all classes. It is a quarter of the geometric mean of the curvature of the true class, about
    # miss (1 - miss), and that of each other class, about miss (1 - miss) / (M - 1).
    v = 0.25 * miss * (1.0 - miss) / math.sqrt(max(classes - 1, 1))
    longest = 10.0 * (1.0 / v + n * gain)  # ten times one over the least curvature relative to the preconditioner
    # The offsets are free, so A must sum to zero over the windows. The rows of K sum to zero too, so the constant
    # vector is an eigenvector of the inverse with eigenvalue 1, and subtracting 1 / n projects it out.
    inverse = _inverse_of_one_plus(kernel * (c * v)).sub_(1.0 / n)
    # The start is the scores of a support without structure, which have about the right scale already.
    scores = margin * (targets - 1.0 / classes)
    rest = targets - scores.softmax(dim=1)
    a = torch.add(rest, scores, alpha=v) @ inverse
    scores += (rest - a) / v

    dual, bias, left = torch.zeros_like(a), a.new_zeros(batch, classes), torch.arange(batch)
    move, move_a, gradient_before, decrement_before = a, a, a, a[:, :1, :1]  # placeholders until the first step
    for step in range(steps):
        share = scores.softmax(dim=1)
        rest = targets - share
        gradient = a - rest
        proposed = torch.add(rest, scores, alpha=v) @ inverse
        # Preconditioned directions of the scores and of a / v.
        toward, toward_a = rest.sub_(proposed), proposed.sub_(a)
        decrement = -_dot(gradient, toward)
        if step:
            # Polak-Ribiere, restarted at 0 where it is negative; the upper limit guards against a tiny denominator.
            turn = ((decrement + _dot(gradient_before, toward)) / decrement_before.clamp_(min=1e-30)).clamp_(0.0, 10.0)
            move, move_a = toward.addcmul_(turn, move), toward_a.addcmul_(turn, move_a)
        else:
            move, move_a = toward, toward_a
        gradient_before, decrement_before = gradient, decrement
        # Second derivative along the direction: the variance of the direction under the softmax of each window, plus
        # the quadratic penalty. In-place products reuse the memory of `share`, which is not needed any more.
        curved = share.mul_(move)
        mean = curved.sum(dim=1, keepdim=True)
        curvature = _dot(move, curved.add_(move_a, alpha=v)) - _dot(mean, mean)
        newton = (-_dot(gradient, move) / curvature.clamp_(min=1e-30)).clamp_(0.0, longest)
        reach = (move.amax(dim=(1, 2), keepdim=True) - move.amin(dim=(1, 2), keepdim=True)).clamp_(min=1e-30)
        length = torch.log1p(reach * newton) / reach
        a.addcmul_(v * length, move_a)
        scores.addcmul_(length, move)
        # The test copies every tensor of the batch where a support has converged, so it does not run at every step.
        if step < _FIRST or (step - _FIRST) % _EVERY:
            continue
        done = ~(decrement > tolerance**2 * v * _dot(a, scores)).flatten()
        if bool(done.any()):
            dual[left[done]], bias[left[done]] = a[done], scores[done].mean(dim=2)
            keep = torch.nonzero(~done).flatten()
            if not len(keep):
                return c * dual, bias
            left, targets, inverse, a, scores = (x.index_select(0, keep) for x in (left, targets, inverse, a, scores))
            move, move_a, gradient_before, decrement_before = (
                x.index_select(0, keep) for x in (move, move_a, gradient_before, decrement_before)
            )
    dual[left], bias[left] = a, scores.mean(dim=2)
    return c * dual, bias


def _inverse_of_one_plus(matrix: Tensor) -> Tensor:
    """Inverse of I + matrix from its Cholesky factor; overwrites the matrix. Shapes: (B, n, n) -> (B, n, n)."""
    matrix.diagonal(dim1=1, dim2=2).add_(1.0)
    lower = torch.linalg.cholesky(matrix)
    one = torch.eye(matrix.shape[1], dtype=matrix.dtype).expand_as(matrix)
    half = torch.linalg.solve_triangular(lower, one, upper=False)
    return half.transpose(1, 2) @ half


def typical_margin(gain: float, classes: int) -> tuple[float, float]:
    """Margin of the true class and total probability of the other classes, in a support without structure.

    The margin is the root of ``margin = gain miss M / (M - 1)``, miss = (M - 1) / (exp(margin) + M - 1).
    It belongs to a support whose kernel is K = k I with gain = C k.
    """
    others = max(classes - 1, 1)
    slope = (others + 1) / others
    margin = miss = 0.0
    for _ in range(100):  # Newton's method on a convex function from below: one overshoot, then a monotone decrease
        miss = others / (math.exp(min(margin, 700.0)) + others)  # exp overflows beyond 709
        move = (margin - gain * miss * slope) / (1.0 + gain * miss * (1.0 - miss) * slope)
        margin -= move
        if abs(move) < 1e-9:
            break
    return margin, miss


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum of products over all but the first axis. Shapes: two (B, ., .) -> (B, 1, 1)."""
    return (a * b).sum(dim=(1, 2), keepdim=True)
