"""A naive simulator of NIR graphs: it reads nodes and edges only, and uses no encoder.

Conventions of the files under test: forward Euler with the step dt, a Delay gives the value of the previous step, the
reset is that of the metadata of the neurons.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def run(graph: Any, inputs: np.ndarray, dt: float) -> dict[str, np.ndarray]:
    """Output of every node for inputs (S, C), each (S, n)."""
    kinds = {name: type(node).__name__ for name, node in graph.nodes.items()}
    before: dict[str, list[str]] = {name: [a for a, b in graph.edges if b == name] for name in graph.nodes}
    order = _order(before, kinds)
    state: dict[str, Any] = {}
    out: dict[str, list[np.ndarray]] = {name: [] for name in graph.nodes}
    for step in inputs:
        now: dict[str, np.ndarray] = {}
        for name in order:
            node, kind = graph.nodes[name], kinds[name]
            if kind == "Delay":
                now[name] = state.get(name, np.zeros(len(node.delay)))
                continue
            total = step if kind == "Input" else sum(now[source].astype(np.float64) for source in before[name])
            now[name] = _node(kind, node, total, state.setdefault(name, {}), dt)
        for name in order:
            if kinds[name] == "Delay":
                (source,) = before[name]
                state[name] = now[source]
            out[name].append(now[name])
    return {name: np.array(values) for name, values in out.items()}


def _order(before: dict[str, list[str]], kinds: dict[str, str]) -> list[str]:
    """Every node after those that it needs in the same step; a Delay needs none."""
    done: list[str] = []
    while len(done) < len(before):
        ready = [
            name
            for name, sources in before.items()
            if name not in done and (kinds[name] == "Delay" or all(source in done for source in sources))
        ]
        assert ready, "a loop without a Delay"
        done += ready
    return done


def _node(kind: str, node: Any, x: np.ndarray, state: dict[str, np.ndarray], dt: float) -> np.ndarray:
    if kind in ("Input", "Output"):
        return x
    if kind == "Scale":
        return node.scale * x
    if kind in ("Linear", "Affine"):
        out = node.weight.astype(np.float64) @ x.astype(np.float64)
        return out + node.bias if kind == "Affine" else out
    single = np.float32
    current = x.astype(single)
    tau = node.tau if kind == "LIF" else node.tau_mem
    decay, gain = (1 - dt / tau).astype(single), (dt / tau * node.r).astype(single)
    zero = np.zeros_like(current)
    if kind == "CubaLIF":
        held = (1 - dt / node.tau_syn).astype(single) * state.get("current", zero)
        current = held + (dt / node.tau_syn * node.w_in).astype(single) * current
        state["current"] = current
    threshold, fired = node.v_threshold.astype(single), state.get("spikes", zero)
    membrane = decay * state.get("membrane", zero)
    if node.metadata["reset"] == "subtract":
        membrane = membrane + gain * current - fired * threshold
    else:
        membrane = membrane * (1 - fired) + gain * current
    state["membrane"], state["spikes"] = membrane, (membrane > threshold).astype(single)
    return state["spikes"]
