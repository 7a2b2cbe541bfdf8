"""Populations of neurons over all steps of a window, with gradients by hand; the equations are those of `Population`.

A loop over steps under autograd records about fifty operations per step. Here the forward pass records none. The
backward pass is one loop over the adjoint of the membrane potentials, and gradients of weights are single products over
all steps. The tests compare the gradients with those of autograd.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from imu_video.encoders.spiking.neurons import Constants, Population, State, integrate, surrogate_derivative


class CellWeights(NamedTuple):
    """Weights inside the recurrent cell, as they multiply row vectors.

    Args:
        to_u: (H + M d, M), from h and m of the previous step.
        h_to_h: (H, H).
        m_to_h: (M d, H).
        matrix: transposed A (d, d).
        vector: B (d,).
    """

    to_u: Tensor
    h_to_h: Tensor
    m_to_h: Tensor
    matrix: Tensor
    vector: Tensor


class _Record:
    """Spikes, membrane potentials and currents of one population at all steps, each (S, B, n)."""

    def __init__(self, part: Population, constants: Constants, steps: int, like: Tensor) -> None:
        self.part, self.constants = part, constants
        self.spikes, self.membrane = (like.new_empty(steps, like.shape[0], part.size) for _ in range(2))
        self.current = torch.empty_like(self.spikes) if constants.synapse is not None else None
        self.state = part.rest(like)

    def advance(self, t: int, current: Tensor) -> Tensor:
        membrane, current = integrate(current, self.state, self.constants, self.part.reset)
        spikes = (membrane > self.constants.threshold).to(membrane.dtype)
        self.state = State(membrane, spikes, current)
        self.spikes[t], self.membrane[t] = spikes, membrane
        if self.current is not None:
            self.current[t] = current
        return spikes

    def tensors(self) -> tuple[Tensor, Tensor, Tensor | None]:
        return self.spikes, self.membrane, self.current


class _Adjoint:
    """Gradients of one population, from the last step to the first."""

    def __init__(
        self, part: Population, constants: Constants, spikes: Tensor, membrane: Tensor, current: Tensor | None
    ) -> None:
        self.constants = constants
        self.spikes, self.membrane, self.current = spikes, membrane, current
        self.slope = surrogate_derivative(membrane - constants.threshold, part.surrogate, part.slope)
        self.subtracts = part.reset == "subtract"
        self.decay = constants.leak if self.subtracts else constants.leak * (1 - spikes)
        self.by_spikes = torch.empty_like(spikes)  # gradient with respect to the spikes, times the surrogate
        self.by_membrane = torch.empty_like(spikes)
        self.by_current = torch.empty_like(spikes) if constants.synapse is not None else self.by_membrane

    def step(self, t: int, by_spikes: Tensor, by_membrane: Tensor | None = None) -> Tensor:
        """Gradient with respect to the input current of step t."""
        torch.mul(by_spikes, self.slope[t], out=self.by_spikes[t])
        found = self.by_membrane[t].copy_(self.by_spikes[t])
        if by_membrane is not None:
            found += by_membrane
        last = t + 1 == len(self.spikes)
        if not last:
            found += (self.decay if self.subtracts else self.decay[t]) * self.by_membrane[t + 1]
        if self.constants.synapse is None:
            return found
        arriving = self.by_current[t].copy_(found)
        if not last:
            arriving += self.constants.synapse * self.by_current[t + 1]
        return arriving

    def constants_gradient(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Gradients of beta, Theta and alpha, each (n,)."""
        later, before = self.by_membrane[1:], self.membrane[:-1]
        by_threshold = -self.by_spikes.sum((0, 1))
        if self.subtracts:
            by_threshold = by_threshold - (later * self.spikes[:-1]).sum((0, 1))
        else:
            before = before * (1 - self.spikes[:-1])
        by_synapse = None if self.current is None else (self.by_current[1:] * self.current[:-1]).sum((0, 1))
        return (later * before).sum((0, 1)), by_threshold, by_synapse


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Population, currents: Tensor, *constants: Any) -> Any:
        record = _Record(part, Constants(*constants), len(currents), currents[0])
        for t, current in enumerate(currents):
            record.advance(t, current)
        ctx.part = part
        ctx.save_for_backward(*record.tensors(), *constants)
        return record.spikes, record.membrane

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        spikes, membrane, current, *constants = ctx.saved_tensors
        adjoint = _Adjoint(ctx.part, Constants(*constants), spikes, membrane, current)
        for t in reversed(range(len(spikes))):
            adjoint.step(t, gradients[0][t], gradients[1][t])
        return None, adjoint.by_current, *adjoint.constants_gradient()


def run_layer(part: Population, currents: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes and membrane potentials of a population without loops.

    Shapes: currents (S, B, n) -> twice (S, B, n).

    Example:
        >>> part = Population(1, leak=0.5, threshold=1.0)
        >>> run_layer(part, torch.full((4, 1, 1), 0.75))[0].flatten().tolist()
        [0.0, 1.0, 0.0, 0.0]
    """
    if torch.compiler.is_exporting():
        return _exported_layer(part, currents)
    spikes, membrane = _Layer.apply(part, currents, *part.constants())
    return spikes, membrane


class _Cell(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parts: tuple[Population, Population | None, Population], *tensors: Any) -> Any:
        currents_u, currents_h, weights, constants = _unpacked(tensors)
        steps, like = len(currents_u), currents_u[0]
        records = [None if p is None else _Record(p, c, steps, like) for p, c in zip(parts, constants, strict=True)]
        u, m, h = records
        assert u is not None
        assert h is not None
        order = len(weights.vector)
        memory = like.new_empty(steps, len(like), len(weights.m_to_h)) if m is None else m.spikes
        past_m = like.new_zeros(like.shape[0], len(weights.m_to_h))
        past_h = h.state.spikes
        for t in range(steps):
            u_t = u.advance(t, currents_u[t] + torch.cat([past_h, past_m], dim=1) @ weights.to_u)
            written = (past_m.unflatten(1, (-1, order)) @ weights.matrix + u_t[..., None] * weights.vector).flatten(1)
            if m is None:
                past_m = memory[t] = written
            else:
                past_m = m.advance(t, written)
            past_h = h.advance(t, currents_h[t] + past_h @ weights.h_to_h + past_m @ weights.m_to_h)
        saved = [tensor for record in (u, m, h) for tensor in ((None,) * 3 if record is None else record.tensors())]
        ctx.parts, ctx.count = parts, len(saved)
        ctx.save_for_backward(memory, *saved, *tensors)
        ctx.mark_non_differentiable(u.spikes, memory)
        return u.spikes, memory, h.spikes, h.membrane

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        memory, *rest = ctx.saved_tensors
        saved, tensors = rest[: ctx.count], rest[ctx.count :]
        _, _, weights, constants = _unpacked(tensors)
        u, m, h = (
            None if p is None else _Adjoint(p, constants[k], *saved[3 * k : 3 * k + 3]) for k, p in enumerate(ctx.parts)
        )
        assert u is not None
        assert h is not None
        by_h, by_membrane = gradients[2], gradients[3]
        order, hidden = len(weights.vector), weights.h_to_h.shape[0]
        back_u, back_h, back_m = weights.to_u.mT, weights.h_to_h.mT, weights.matrix.mT
        # Gradients with respect to the currents of u, m and h at the step after the present one.
        later_u, later_m, later_h = (
            torch.zeros_like(u.spikes[0]),
            torch.zeros_like(memory[0]),
            torch.zeros_like(by_h[0]),
        )
        for t in reversed(range(len(by_h))):
            from_u = later_u @ back_u
            from_m = from_u[:, hidden:] + (later_m.unflatten(1, (-1, order)) @ back_m).flatten(1)
            later_h = h.step(t, by_h[t] + from_u[:, :hidden] + later_h @ back_h, by_membrane[t])
            from_m += later_h @ weights.m_to_h.mT
            later_m = from_m if m is None else m.step(t, from_m)
            later_u = u.step(t, later_m.unflatten(1, (-1, order)) @ weights.vector)
        joined = torch.cat([h.spikes, memory], dim=2)
        by_weights = (
            torch.einsum("sbi,sbo->io", joined[:-1], u.by_current[1:]),
            torch.einsum("sbi,sbo->io", h.spikes[:-1], h.by_current[1:]),
            torch.einsum("sbi,sbo->io", memory, h.by_current),
            None,
            None,
        )
        by_constants = [g for part in (u, m, h) for g in ((None,) * 3 if part is None else part.constants_gradient())]
        return None, u.by_current, h.by_current, *by_weights, *by_constants


def _unpacked(tensors: Any) -> tuple[Tensor, Tensor, CellWeights, list[Constants]]:
    constants = [Constants(*tensors[at : at + 3]) for at in range(7, 16, 3)]
    return tensors[0], tensors[1], CellWeights(*tensors[2:7]), constants


def run_cell(
    parts: tuple[Population, Population | None, Population],
    currents_u: Tensor,
    currents_h: Tensor,
    weights: CellWeights,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Outputs of u and m, and spikes and membrane potentials of h, of the recurrent cell of an `L2MU`.

    The gradient passes through the latter two only.

    Args:
        parts: u, m (None: a real-valued memory) and h.
        currents_u, currents_h: (S, B, M) and (S, B, H), from outside the cell.
        weights: see `CellWeights`.

    Shapes: -> (S, B, M), (S, B, M d), (S, B, H), (S, B, H).
    """
    if torch.compiler.is_exporting():
        return _exported_cell(parts, currents_u, currents_h, weights)
    constants = [value for part in parts for value in ((None,) * 3 if part is None else part.constants())]
    u, m, h, membrane = _Cell.apply(parts, currents_u, currents_h, *weights, *constants)
    return u, m, h, membrane


# --------------------------------------------------------- one operator for a loop of any length, for exported graphs


def _exported_layer(part: Population, currents: Tensor) -> tuple[Tensor, Tensor]:
    from torch._higher_order_ops import scan

    constants = part.constants()

    def step(state: list[Tensor], current: Tensor) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
        state = _plain_step(part, constants, state, current)
        return state, (state[1].clone(), state[0].clone())

    _, (spikes, membrane) = scan(step, _plain_rest(part, currents[0]), currents)
    return spikes, membrane


def _exported_cell(
    parts: tuple[Population, Population | None, Population],
    currents_u: Tensor,
    currents_h: Tensor,
    weights: CellWeights,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from torch._higher_order_ops import scan

    u, m, h = parts
    of_u, of_m, of_h = (None if part is None else part.constants() for part in parts)
    assert of_u is not None
    assert of_h is not None
    like, order = currents_u[0], len(weights.vector)
    rest = (
        _plain_rest(u, like),
        [like.new_zeros(like.shape[0], len(weights.m_to_h))] if m is None else _plain_rest(m, like),
        _plain_rest(h, like),
    )

    def step(state: Any, currents: Any) -> Any:
        state_u, state_m, state_h = state
        past_m, past_h = state_m[0 if m is None else 1], state_h[1]
        joined = torch.cat([past_h, past_m], dim=1)
        state_u = _plain_step(u, of_u, state_u, currents[0] + joined @ weights.to_u)
        written = past_m.unflatten(1, (-1, order)) @ weights.matrix + state_u[1][..., None] * weights.vector
        if m is None or of_m is None:
            state_m = [written.flatten(1).clone()]
        else:
            state_m = _plain_step(m, of_m, state_m, written.flatten(1))
        now_m = state_m[0 if m is None else 1]
        state_h = _plain_step(h, of_h, state_h, currents[1] + past_h @ weights.h_to_h + now_m @ weights.m_to_h)
        return (state_u, state_m, state_h), (state_u[1].clone(), now_m.clone(), state_h[1].clone(), state_h[0].clone())

    _, (spikes_u, memory, spikes, membrane) = scan(step, rest, (currents_u, currents_h))
    return spikes_u, memory, spikes, membrane


def _plain_rest(part: Population, like: Tensor) -> list[Tensor]:
    """Membrane potential, spikes and, of current-based neurons, the current; no tensor twice."""
    return [like.new_zeros(like.shape[0], part.size) for _ in range(2 if part.synapse is None else 3)]


def _plain_step(part: Population, constants: Constants, state: list[Tensor], current: Tensor) -> list[Tensor]:
    membrane, current = integrate(current, State(state[0], state[1], state[-1]), constants, part.reset)
    spikes = (membrane > constants.threshold).to(membrane.dtype)
    return [membrane, spikes] if part.synapse is None else [membrane, spikes, current]
