"""State-space matrices of the Legendre memory and their zero-order hold; no neurons."""

from __future__ import annotations

import torch
from torch import Tensor


def legendre_memory(order: int, theta: float) -> tuple[Tensor, Tensor]:
    """Continuous matrices A and B of a memory that holds the last ``theta`` steps of its input.

    Voelker et al. 2019 (Legendre Memory Units, equation 2): dm/dt = A m + B u with
    A_ij = (2i + 1) / theta * (-1 if i < j else (-1)^(i - j + 1)) and B_i = (2i + 1) (-1)^i / theta. The state holds
    coefficients of shifted Legendre polynomials: u(t - tau) = sum_i P_i(2 tau / theta - 1) m_i(t), approximately.

    Args:
        order: d, number of coefficients, 1 or more; 4 to 20.
        theta: length of the memory in steps, above 0.

    Shapes: -> float64 (d, d) and (d,).

    Example:
        >>> A, B = legendre_memory(2, 1.0)
        >>> A.tolist(), B.tolist()
        ([[-1.0, -1.0], [3.0, -3.0]], [1.0, -3.0])
    """
    i = torch.arange(order, dtype=torch.float64)
    scale = (2 * i + 1) / theta
    below = i[:, None] - i
    sign = torch.where(below < 0, -1.0, torch.where(below % 2 == 0, -1.0, 1.0)).double()
    return scale[:, None] * sign, scale * torch.where(i % 2 == 0, 1.0, -1.0).double()


def zero_order_hold(a: Tensor, b: Tensor, *, step: float = 1.0) -> tuple[Tensor, Tensor]:
    """Discrete matrices of dm/dt = A m + B u, exact for an input that is constant during each step.

    exp(step [[A, B], [0, 0]]) = [[A', B'], [0, 1]] gives m(t + step) = A' m(t) + B' u.

    Args:
        a, b: A (d, d) and B (d,), float64.
        step: length of a step in the unit of time of A.

    Shapes: -> (d, d) and (d,).

    Example:
        >>> a, b = zero_order_hold(torch.tensor([[-1.0]]).double(), torch.tensor([1.0]).double())
        >>> round(float(a), 4), round(float(b), 4)
        (0.3679, 0.6321)
    """
    size = len(b)
    joint = a.new_zeros(size + 1, size + 1)
    joint[:size, :size], joint[:size, size] = a, b
    discrete = torch.linalg.matrix_exp(step * joint)
    return discrete[:size, :size], discrete[:size, size]
