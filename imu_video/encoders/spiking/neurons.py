"""Populations of spiking neurons and the synapses between them; no architecture.

Synaptic weights are rounded to multiples of `WEIGHT_STEP`, as on hardware with fixed-point weights. A sum of such
weights over spikes is exact in float32 in every order of summation. The spikes of a network therefore do not depend on
the batch size, the number of threads or the machine. Otherwise a membrane next to its threshold would spike in one of
two equal computations.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from imu_video.errors import ConfigError

WEIGHT_STEP = 2.0**-10
"""Resolution of synaptic weights. Sums of less than 2**14 are exact in float32."""
INPUT_STEP = 2.0**-8
"""Resolution of real-valued input, in units of the normalised signal. Weighted sums of less than 2**6 are exact."""
MEMORY_STEP = 2.0**-20
"""Resolution of the frozen matrices of a Legendre memory. Sums of less than 2**4 are exact."""
LEAK_STEP = 2.0**-16
"""Resolution of decay factors; the time constants of a file then reproduce them exactly."""
LARGEST_LEAK = 1 - 2.0**-10
"""Largest decay factor: a time constant of 1,024 steps."""
LEAST_THRESHOLD = 2.0**-10

Surrogate = Literal["fast_sigmoid", "arctan"]
"""Derivative that replaces that of the spike in training: 1 / (1 + k |x|)^2, or 1 / (1 + (pi k x / 2)^2)."""
Reset = Literal["subtract", "zero"]
"""After a spike the threshold is subtracted from the membrane potential, or the potential becomes zero."""


class State(NamedTuple):
    """State of a population: membrane potential, spikes and synaptic current, each (B, n)."""

    membrane: Tensor
    spikes: Tensor
    current: Tensor


class Constants(NamedTuple):
    """Constants of a population within their limits: beta, Theta and, of current-based neurons, alpha, each (n,)."""

    leak: Tensor
    threshold: Tensor
    synapse: Tensor | None


class _Round(torch.autograd.Function):
    """Round to a multiple of a step; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: float) -> Tensor:
        return torch.round(x / step) * step

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0], None


class _Spike(torch.autograd.Function):
    """1 where x > 0, else 0, with a surrogate derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, surrogate: Surrogate, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.surrogate, ctx.slope = surrogate, slope
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (x,) = ctx.saved_tensors
        return gradients[0] * surrogate_derivative(x, ctx.surrogate, ctx.slope), None, None


def surrogate_derivative(x: Tensor, surrogate: Surrogate, slope: float) -> Tensor:
    """Derivative that training uses for the spike at ``x``, the potential minus the threshold; 1 at 0."""
    if surrogate == "arctan":
        return 1 / (1 + (math.pi / 2 * slope * x).square())
    return 1 / (1 + slope * x.abs()).square()


def integrate(current: Tensor, state: State, constants: Constants, reset: Reset) -> tuple[Tensor, Tensor]:
    """Membrane potential and synaptic current after one step, see `Population`. Shapes: each (B, n)."""
    if constants.synapse is not None:
        current = constants.synapse * state.current + current
    if reset == "subtract":
        return constants.leak * state.membrane + current - state.spikes * constants.threshold, current
    return constants.leak * state.membrane * (1 - state.spikes) + current, current


def rounded(x: Tensor, step: float) -> Tensor:
    """The nearest multiple of ``step``, with the gradient of the identity.

    Example:
        >>> rounded(torch.tensor([0.3, -0.6]), 0.25).tolist()
        [0.25, -0.5]
    """
    out: Tensor = _Round.apply(x, step)
    return out


def spike(x: Tensor, surrogate: Surrogate = "fast_sigmoid", slope: float = 10.0) -> Tensor:
    """1 where ``x`` is above 0, else 0; training uses the derivative of the surrogate.

    Neftci et al. 2019 (arXiv 1901.09948). Large slopes limit the gradient to neurons next to their threshold.

    Args:
        x: membrane potential minus threshold.
        surrogate: see `Surrogate`.
        slope: k, above 0; 2 to 25.

    Shapes: -> as x.

    Example:
        >>> spike(torch.tensor([-0.1, 0.0, 0.1])).tolist()
        [0.0, 0.0, 1.0]
    """
    out: Tensor = _Spike.apply(x, surrogate, slope)
    return out


class Synapses(nn.Module):
    """Weighted connections between two populations, with a mask of those that exist after pruning.

    Args:
        inputs, outputs: number of neurons on either side, 1 or more.
        bias: add a constant current per neuron; for layers only.
        init: ``lecun`` uniform, ``xavier`` normal or ``zeros``.

    Shapes: (..., inputs) -> (..., outputs).

    Example:
        >>> Synapses(3, 2, init="zeros")(torch.ones(5, 3)).shape
        torch.Size([5, 2])
    """

    kept: Tensor

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool = False, init: Literal["lecun", "xavier", "zeros"] = "lecun"
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        # Part of the state, so that a pruned encoder stays pruned when it is loaded and trained further.
        self.register_buffer("kept", torch.ones(outputs, inputs, dtype=torch.bool))
        if init == "lecun":
            bound = math.sqrt(3 / inputs)
            nn.init.uniform_(self.weight, -bound, bound)
        elif init == "xavier":
            nn.init.xavier_normal_(self.weight)

    def effective(self) -> Tensor:
        """Weights as they act: rounded, pruned ones zero. Shapes: -> (outputs, inputs)."""
        return torch.where(self.kept, rounded(self.weight, WEIGHT_STEP), 0)

    def forward(self, x: Tensor) -> Tensor:
        out = x @ self.effective().mT
        return out if self.bias is None else out + rounded(self.bias, WEIGHT_STEP)


class Population(nn.Module):
    """Leaky integrate-and-fire neurons with learned decay factors and thresholds, one of each per neuron.

    LIF: U_t = beta U_(t-1) + I_t - S_(t-1) Theta, S_t = 1[U_t > Theta]. Current-based LIF (``synapse`` is given):
    J_t = alpha J_(t-1) + I_t takes the place of I_t. With ``reset="zero"``, U_t = beta U_(t-1) (1 - S_(t-1)) + I_t.
    The gradient does not pass through the spike of the reset.

    Args:
        size: n, 1 or more.
        leak: initial beta in [0, 1).
        threshold: initial Theta, above 0.
        synapse: initial alpha in [0, 1) of the current; None: no state of the current.
        reset: see `Reset`.
        surrogate, slope: see `spike`.

    Shapes: current (B, n), state -> state; every tensor of a state is (B, n).

    Example:
        >>> neurons = Population(1, leak=0.5, threshold=1.0)
        >>> state = neurons.rest(torch.zeros(1, 1))
        >>> train = []
        >>> for _ in range(4):
        ...     state = neurons(torch.full((1, 1), 0.75), state)
        ...     train.append(state.spikes.item())
        >>> train
        [0.0, 1.0, 0.0, 0.0]
    """

    def __init__(
        self,
        size: int,
        *,
        leak: float,
        threshold: float,
        synapse: float | None = None,
        reset: Reset = "subtract",
        surrogate: Surrogate = "fast_sigmoid",
        slope: float = 10.0,
    ) -> None:
        super().__init__()
        if not 0 <= leak < 1 or threshold <= 0 or not 0 <= (synapse or 0) < 1:
            raise ConfigError(
                f"neurons: decay factors must be in [0, 1), thresholds above 0; got {leak=}, {threshold=}, {synapse=}"
            )
        self.size, self.reset = size, reset
        self.surrogate, self.slope = surrogate, slope
        self.leak = nn.Parameter(torch.full((size,), leak))
        self.threshold = nn.Parameter(torch.full((size,), threshold))
        self.synapse = None if synapse is None else nn.Parameter(torch.full((size,), synapse))

    def rest(self, like: Tensor) -> State:
        """The state before the first step. Shapes: like (B, ...) -> three times (B, n)."""
        zero = like.new_zeros(like.shape[0], self.size)
        return State(zero, zero, zero)

    def constants(self) -> Constants:
        """Beta, Theta and alpha within their limits."""
        leak, synapse = (
            None if decay is None else rounded(decay.clamp(min=0.0).clamp(max=LARGEST_LEAK), LEAK_STEP)
            for decay in (self.leak, self.synapse)
        )
        assert leak is not None
        return Constants(leak, self.threshold.clamp(min=LEAST_THRESHOLD), synapse)

    def forward(self, current: Tensor, state: State) -> State:
        """One step."""
        constants = self.constants()
        membrane, current = integrate(current, state._replace(spikes=state.spikes.detach()), constants, self.reset)
        return State(membrane, spike(membrane - constants.threshold, self.surrogate, self.slope), current)
