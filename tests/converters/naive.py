"""Published networks from their descriptions: random weights under the published names, and slow float64 features.

Everything is NumPy: sums over kernel positions, explicit indices, no code shared with the library.
"""

from __future__ import annotations

import numpy as np

State = dict[str, np.ndarray]

# Of each stage: width, residual blocks, one step in place of how many, boxes of the smoothing filter besides the first.
HARNET = {
    5: [(64, 2, 2, 2), (128, 2, 2, 2), (256, 2, 3, 1), (256, 2, 3, 1), (512, 0, 3, 1)],
    10: [(64, 2, 2, 2), (128, 2, 2, 2), (256, 2, 5, 1), (512, 2, 5, 1), (1024, 0, 3, 1)],
    30: [(64, 2, 3, 1), (128, 2, 3, 1), (256, 2, 5, 1), (512, 2, 5, 1), (1024, 0, 4, 0)],
}


class Random:
    """Random tensors of a size that keeps activations near 1."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)

    def weight(self, *shape: int) -> np.ndarray:
        size = np.sqrt(1 / np.prod(shape[1:]))
        return (size * self.generator.normal(size=shape)).astype(np.float32)

    def vector(self, width: int, *, around: float = 0.0) -> np.ndarray:
        return (around + self.generator.uniform(-0.3, 0.3, width)).astype(np.float32)

    def batch_norm(self, name: str, width: int) -> State:
        return {
            f"{name}.weight": self.vector(width, around=1),
            f"{name}.bias": self.vector(width),
            f"{name}.running_mean": self.vector(width),
            f"{name}.running_var": self.vector(width, around=1),
            f"{name}.num_batches_tracked": np.array(7),
        }


def harnet_state(seconds: int, *, divide: int = 1, prefix: str = "module.", heads: bool = True) -> State:
    """Weights of harnet with the names of ``mtl_best.mdl``; ``divide`` makes all widths smaller."""
    random, state, before = Random(seconds), {}, 3
    for i, (full, blocks, factor, order) in enumerate(HARNET[seconds], start=1):
        width, layer = full // divide, f"{prefix}feature_extractor.layer{i}"
        state[f"{layer}.0.weight"] = random.weight(width, before, 5)
        for block in range(1, blocks + 1):
            for n in (1, 2):
                state |= random.batch_norm(f"{layer}.{block}.bn{n}", width)
                state[f"{layer}.{block}.conv{n}.weight"] = random.weight(width, width, 5)
        state |= random.batch_norm(f"{layer}.{blocks + 1}", width)
        kernel = np.ones(factor)
        for _ in range(order):
            kernel = np.convolve(kernel, np.ones(factor))
        kernel = (kernel / kernel.sum()).astype(np.float32)
        state[f"{layer}.{blocks + 3}.kernel"] = np.tile(kernel, (width, 1, 1))
        before = width
    if heads:
        for head in ("aot_h", "scale_h", "permute_h", "time_w_h"):
            state[f"{prefix}{head}.linear1.weight"] = random.weight(2, before)
            state[f"{prefix}{head}.linear1.bias"] = random.vector(2)
    return state


def harnet_features(state: State, x: np.ndarray, seconds: int, *, prefix: str = "module.") -> np.ndarray:
    """Features (B, E) of windows (B, 3, T) in g at 30 Hz; T is the published length."""
    for i, (_, blocks, factor, order) in enumerate(HARNET[seconds], start=1):
        layer = f"{prefix}feature_extractor.layer{i}"
        x = convolve(around(x), state[f"{layer}.0.weight"])
        for block in range(1, blocks + 1):
            y = x
            for n in (1, 2):
                y = np.maximum(batch_norm(state, f"{layer}.{block}.bn{n}", y), 0)
                y = convolve(around(y), state[f"{layer}.{block}.conv{n}.weight"])
            x = x + y
        x = np.maximum(batch_norm(state, f"{layer}.{blocks + 1}", x), 0)
        edge = order * (factor - 1) // 2
        x = np.pad(x, ((0, 0), (0, 0), (edge, edge)))
        kernel = state[f"{layer}.{blocks + 3}.kernel"][0, 0]
        starts = range(0, x.shape[-1] - len(kernel) + 1, factor)
        x = np.stack([(x[..., t : t + len(kernel)] * kernel).sum(-1) for t in starts], axis=-1)
    assert x.shape[-1] == 1
    return x[..., 0]


def mw2_state(prefix: str, *, hidden: int = 512, heads: str | None = None) -> State:
    """Weights of MW2StackRNNPooling; with ``heads`` (their prefix) also the two linear heads of PRIMUS."""
    random = Random(hidden)
    state = {f"{prefix}0.weight": random.vector(6, around=1), f"{prefix}0.bias": random.vector(6)}
    for i, (before, kernel) in enumerate(((6, 10), (32, 5), (32, 5)), start=1):
        state[f"{prefix}{i}.net.0.weight"] = random.weight(32, before, kernel)
    state |= {f"{prefix}4.weight": random.vector(32, around=1), f"{prefix}4.bias": random.vector(32)}
    for part, width in (("ih", 32), ("hh", hidden)):
        state[f"{prefix}5.weight_{part}_l0"] = random.weight(3 * hidden, width)
        state[f"{prefix}5.bias_{part}_l0"] = random.vector(3 * hidden)
    for head in ("ssl_head", "mmcl_head") if heads is not None else ():
        state[f"{heads}{head}.weight"] = random.weight(hidden, hidden)
        state[f"{heads}{head}.bias"] = random.vector(hidden)
    return state


def mw2_features(state: State, prefix: str, x: np.ndarray, *, steps: int | None = None) -> np.ndarray:
    """Last state (B, hidden) of windows (B, 6, T); with ``steps`` the third pooling is PRIMUS's average."""
    x = group_norm(state, f"{prefix}0", x, groups=2)
    for i in (1, 2, 3):
        x = convolve(x, state[f"{prefix}{i}.net.0.weight"], dilation=2)
        if i == 3 and steps is not None:
            length = x.shape[-1]
            bounds = [(k * length // steps, -(-(k + 1) * length // steps)) for k in range(steps)]
            x = np.stack([x[..., a:b].mean(-1) for a, b in bounds], axis=-1)
        else:
            x = np.stack([x[..., t : t + 3].max(-1) for t in range(0, x.shape[-1] - 2, 3)], axis=-1)
    return gru(state, f"{prefix}5", group_norm(state, f"{prefix}4", x, groups=4))


def linear(state: State, name: str, x: np.ndarray) -> np.ndarray:
    return x @ state[f"{name}.weight"].T.astype(np.float64) + state[f"{name}.bias"]


def around(x: np.ndarray) -> np.ndarray:
    """Two samples more at both ends, those of the other end."""
    return x[..., np.arange(-2, x.shape[-1] + 2) % x.shape[-1]]


def convolve(x: np.ndarray, weight: np.ndarray, *, dilation: int = 1) -> np.ndarray:
    steps = x.shape[-1] - dilation * (weight.shape[-1] - 1)
    taps = range(weight.shape[-1])
    return sum(weight[:, :, k].astype(np.float64) @ x[..., k * dilation : k * dilation + steps] for k in taps)


def batch_norm(state: State, name: str, x: np.ndarray) -> np.ndarray:
    gain, offset, mean, variance = (
        state[f"{name}.{part}"].astype(np.float64)[:, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * gain + offset


def group_norm(state: State, name: str, x: np.ndarray, *, groups: int) -> np.ndarray:
    parts = x.reshape(len(x), groups, -1)
    parts = (parts - parts.mean(-1, keepdims=True)) / np.sqrt(parts.var(-1, keepdims=True) + 1e-5)
    return parts.reshape(x.shape) * state[f"{name}.weight"][:, None] + state[f"{name}.bias"][:, None]


def gru(state: State, name: str, x: np.ndarray) -> np.ndarray:
    to_input, to_state = (state[f"{name}.weight_{part}_l0"].astype(np.float64) for part in ("ih", "hh"))
    hidden = np.zeros((len(x), to_state.shape[1]))
    for t in range(x.shape[-1]):
        a = np.split(x[..., t] @ to_input.T + state[f"{name}.bias_ih_l0"], 3, axis=1)
        b = np.split(hidden @ to_state.T + state[f"{name}.bias_hh_l0"], 3, axis=1)
        reset, update = (1 / (1 + np.exp(-(a[i] + b[i]))) for i in (0, 1))
        hidden = (1 - update) * np.tanh(a[2] + reset * b[2]) + update * hidden
    return hidden
