"""Spiking encoders as NIR files, written and read; training and the cost of spikes are elsewhere.

NIR, the Neuromorphic Intermediate Representation (Pedersen et al. 2024, doi 10.1038/s41467-024-52259-9), describes a
network as a graph of neurons in continuous time. Three conventions make it a computation in steps, and the file states
them: constants are those of forward Euler with the step ``dt``, a node `Delay` gives the value of the previous step
and every other edge that of the present one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.input_spec import InputSpec
from imu_video.encoders.spiking.cost import SpikeCost, spike_cost
from imu_video.encoders.spiking.l2mu import L2MU, Activity, Connection
from imu_video.encoders.spiking.neurons import LARGEST_LEAK, LEAK_STEP, LEAST_THRESHOLD, WEIGHT_STEP, Population
from imu_video.errors import CheckpointError, ConfigError, ParityError
from imu_video.export.packages import needed
from imu_video.export.parity import made_windows
from imu_video.runtime import documents
from imu_video.runtime.files import atomic_folder, is_free
from imu_video.runtime.text import code, markdown
from imu_video.types import JsonDict
from imu_video.version import __version__

NIR_FILE, GOLDEN_FILE, FACTS_FILE, CARD = "network.nir", "golden.npz", "export.json", "README.md"
FORMAT, VERSION = "imu-video-nir", 1
KEY = "imu_video"
"""Entry of the graph's metadata with the facts of the encoder, as JSON."""
STEPPING = (
    "forward Euler with the step dt: membrane <- (1 - dt / tau_mem) membrane + (dt / tau_mem) r current; a Delay gives "
    "the value of the previous step, 0 at the first; every other edge that of the present step"
)


@dataclass(frozen=True, kw_only=True)
class NirExport:
    """Result of an export.

    Args:
        folder: the folder written.
        bytes: size of the NIR file.
        nodes, edges: of the graph.
        spikes: number of spikes that were compared with those of the file.
        windows: number of windows that were compared.
        cost: sparsity and operations on recorded windows; None: none were given.
    """

    folder: Path
    bytes: int
    nodes: int
    edges: int
    spikes: int
    windows: int
    cost: SpikeCost | None


def export_nir(
    bundle: EncoderBundle, out: str | Path, *, windows: np.ndarray | None = None, force: bool = False
) -> NirExport:
    """Write a spiking encoder as a NIR file, read it back and compare every spike before the folder gets its name.

    The folder has the file, one golden window with its spikes (`golden.npz`: steps (S, C), spikes (S, n) of every
    population), `export.json` and a summary. The graph takes normalised, gap-free steps; normalisation, gaps and
    averaging are those of the encoder.

    Args:
        bundle: encoder `l2mu` with its input specification.
        out: folder to write; must be absent or empty unless ``force`` is set.
        windows: (N, C, T) recorded windows in the units of the specification, NaN = missing: also compared, and
            sparsity and operations are measured on them.
        force: replace an earlier export.

    Raises:
        ConfigError: the extra `neuromorphic` is not installed, or the encoder has no spikes.
        ParityError: the file gives other spikes than the encoder; nothing is written.
        CheckpointError: ``out`` has other content, or exists and ``force`` is not set.

    Example:
        ``export_nir(load_encoder("encoder"), "exported").spikes``
    """
    target = Path(out)
    _refuse_overwrite(target, force)
    graph, encoder = nir_graph(bundle), _spiking(bundle)
    made = made_windows(bundle, bundle.spec.samples)
    with atomic_folder(target, replace=True) as temporary:
        file = temporary / NIR_FILE
        needed("nir").write(file, graph)
        again = load_nir(file)
        spikes = sum(_compared(bundle, again, x) for x in (made, windows) if x is not None)
        cost = None if windows is None else spike_cost(encoder, *_prepared(bundle, windows))
        golden = _activity(bundle, made[5:6])
        np.savez_compressed(
            temporary / GOLDEN_FILE,
            inputs=golden.inputs[:, 0].numpy(),
            membrane=golden.membrane[:, 0].numpy(),
            **{name: train[:, 0].numpy() for name, train in golden.spikes.items()},  # type: ignore[arg-type]
        )
        facts = {
            **_facts(bundle),
            "nodes": len(graph.nodes),
            "edges": len(graph.edges),
            "bytes": file.stat().st_size,
            "compared": {"windows": len(made) + (0 if windows is None else len(windows)), "spikes": spikes},
            "cost": None if cost is None else asdict(cost),
        }
        (temporary / FACTS_FILE).write_text(json.dumps(facts, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        (temporary / CARD).write_text(_card(facts), encoding="utf-8")
    return NirExport(
        folder=target,
        bytes=facts["bytes"],
        nodes=facts["nodes"],
        edges=facts["edges"],
        spikes=spikes,
        windows=facts["compared"]["windows"],
        cost=cost,
    )


def nir_graph(bundle: EncoderBundle) -> Any:
    """The network of a spiking encoder as ``nir.NIRGraph``.

    Nodes have the names of the populations, ``inputs`` and ``output``. Synapses are ``SOURCE_to_TARGET``; loops pass
    through ``SOURCE_delayed``.

    Raises:
        ConfigError: the extra `neuromorphic` is not installed, or the encoder has no spikes.
    """
    nir, encoder = needed("nir"), _spiking(bundle)
    dt = encoder.pool / bundle.spec.rate_hz
    nodes: dict[str, Any] = {"inputs": nir.Input(input_type={"input": np.array([encoder.channels])})}
    edges: list[tuple[str, str]] = []
    with torch.no_grad():
        populations = encoder.populations()
        for name, part in populations.items():
            nodes[name] = _neurons(nir, part, dt)
        if "m" not in populations:  # a real-valued memory: the node only adds its two inputs
            nodes["m"] = nir.Scale(scale=np.ones(encoder.u.size * encoder.order))
        for link in encoder.connections():
            name, source = _name(link), link.source
            if link.delay:
                source = f"{link.source}_delayed"
                if source not in nodes:
                    nodes[source] = nir.Delay(delay=np.full(link.weight.shape[1], link.delay * dt))
                    edges.append((link.source, source))
            nodes[name] = _synapses(nir, link)
            edges += [(source, name), (name, link.target)]
    nodes["output"] = nir.Output(output_type={"output": np.array([encoder.h.size])})
    edges.append(("h", "output"))
    metadata = {KEY: json.dumps(_facts(bundle), allow_nan=False), "missing": encoder.missing.detach().cpu().numpy()}
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=metadata)


def load_nir(file: str | Path) -> EncoderBundle:
    """Read a NIR file of `export_nir`, possibly with other weights and constants, as an encoder in evaluation mode.

    Args:
        file: the NIR file.

    Raises:
        ConfigError: the extra `neuromorphic` is not installed.
        CheckpointError: no such file, damaged, another graph, or values that the encoder would not compute exactly.

    Example:
        ``load_nir("exported/network.nir").encode(windows, rate_hz=50)``
    """
    nir, path = needed("nir"), Path(file)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file", hint=f"name the file {NIR_FILE} of an export")
    try:
        graph = nir.read(path)
    except Exception as error:  # h5py and nir raise errors of many classes for damaged files
        raise CheckpointError(
            f"{path}: not a NIR file that nir {nir.version} reads: {str(error)[:200] or type(error).__name__}",
            hint="copy or export the file again",
        ) from error
    return from_nir(graph, source=path)


def from_nir(graph: Any, *, source: str | Path = "graph") -> EncoderBundle:
    """The encoder of a graph in memory, see `load_nir`; ``source`` names it in errors."""
    nir = needed("nir")
    facts = _read_facts(graph, source)
    try:
        spec = documents.validate(InputSpec, facts["input"], f"{source}: metadata, input", error=ConfigError)
        bundle = EncoderBundle(spec=spec, encoder=facts["encoder"])
        encoder, expected = _spiking(bundle), nir_graph(bundle)
    except ConfigError as error:
        raise CheckpointError(f"{source}: {error.message}", hint=error.hint) from error
    _check_structure(graph, expected, source)
    bundle.lineage = dict(facts["lineage"])
    dt = encoder.pool / spec.rate_hz
    with torch.no_grad():
        for name, part in encoder.populations().items():
            _fill_neurons(part, graph.nodes[name], dt, f"{source}: node {name!r}", nir)
        for link in encoder.connections():
            where, node = f"{source}: node {_name(link)!r}", graph.nodes[_name(link)]
            weight = _finite(node.weight, where, "weight")
            if link.synapses is None:
                if not np.array_equal(weight, link.weight.numpy()):
                    raise CheckpointError(
                        f"{where}: not the matrix of a Legendre memory with order {encoder.order} and theta "
                        f"{encoder.theta:g}",
                        hint="the memory is frozen: export the encoder again with other `order` and `theta`",
                    )
                continue
            link.synapses.weight.copy_(torch.from_numpy(_on_grid(weight, where, "weight")))
            if link.synapses.bias is not None:
                link.synapses.bias.copy_(torch.from_numpy(_on_grid(_finite(node.bias, where, "bias"), where, "bias")))
            kept = node.metadata.get("kept")
            if kept is not None:
                link.synapses.kept.copy_(torch.from_numpy(np.asarray(kept) != 0))
        encoder.missing.copy_(torch.from_numpy(_finite(graph.metadata["missing"], f"{source}: metadata", "missing")))
    return bundle.eval()


def _spiking(bundle: EncoderBundle) -> L2MU:
    if not isinstance(bundle.encoder, L2MU):
        raise ConfigError(
            f"encoder {bundle.encoder_config['name']!r} has no spikes, NIR files describe spiking networks",
            hint="use an encoder `l2mu`, or --onnx for a file that runs without torch",
        )
    return bundle.encoder


def _facts(bundle: EncoderBundle) -> JsonDict:
    encoder = _spiking(bundle)
    return {
        "format": FORMAT,
        "format_version": VERSION,
        "encoder": bundle.encoder_config,
        "input": bundle.spec.model_dump(mode="json"),
        "dt_s": encoder.pool / bundle.spec.rate_hz,
        "stepping": STEPPING,
        "reset": encoder.h.reset,
        "weight_step": WEIGHT_STEP,
        "source_sha256": bundle.weights_sha256,
        "versions": {"imu-video": __version__, "torch": torch.__version__, "nir": str(needed("nir").version)},
        "lineage": bundle.lineage,
    }


def _read_facts(graph: Any, source: str | Path) -> JsonDict:
    text = graph.metadata.get(KEY) if isinstance(graph.metadata, dict) else None
    try:
        facts = documents.parse_json(text, f"{source}: {KEY}", error=CheckpointError) if isinstance(text, str) else None
    except CheckpointError:
        facts = None
    wanted = {"encoder": dict, "input": dict, "lineage": dict}
    if not isinstance(facts, dict) or facts.get("format") != FORMAT or "missing" not in graph.metadata:
        raise CheckpointError(
            f"{source}: no metadata {KEY!r}: the graph was not exported by imu-video",
            hint="only graphs of `imu-video export ENCODER OUT --nir` are read",
        )
    if facts.get("format_version") != VERSION:
        raise CheckpointError(
            f"{source}: format version {facts.get('format_version')!r}, this version reads {VERSION}",
            hint="install a newer imu-video, or export the encoder again",
        )
    wrong = [key for key, kind in wanted.items() if not isinstance(facts.get(key), kind)]
    if wrong:
        raise CheckpointError(f"{source}: metadata: no mapping {wrong[0]!r}", hint="export the encoder again")
    return facts


def _name(link: Connection) -> str:
    return f"{link.source}_to_{link.target}"


def _synapses(nir: Any, link: Connection) -> Any:
    weight, metadata = link.weight.cpu().numpy(), {}
    if link.synapses is not None and not bool(link.synapses.kept.all()):
        metadata["kept"] = link.synapses.kept.cpu().numpy().astype(np.uint8)
    if link.bias is None:
        return nir.Linear(weight=weight, metadata=metadata)
    return nir.Affine(weight=weight, bias=link.bias.cpu().numpy(), metadata=metadata)


def _neurons(nir: Any, part: Population, dt: float) -> Any:
    """Time constants in float64, from which the decay factors are recovered exactly."""
    leak, threshold, synapse = (None if x is None else x.detach().cpu().double().numpy() for x in part.constants())
    assert leak is not None
    tau, zero = dt / (1 - leak), np.zeros_like(leak)
    shared = {"v_leak": zero, "v_threshold": threshold, "v_reset": zero, "metadata": {"reset": part.reset}}
    if synapse is None:
        return nir.LIF(tau=tau, r=tau / dt, **shared)
    tau_syn = dt / (1 - synapse)
    return nir.CubaLIF(tau_mem=tau, tau_syn=tau_syn, r=tau / dt, w_in=tau_syn / dt, **shared)


def _fill_neurons(part: Population, node: Any, dt: float, where: str, nir: Any) -> None:
    current_based = isinstance(node, nir.CubaLIF)
    tau = _finite(node.tau_mem if current_based else node.tau, where, "time constants")
    threshold = _finite(node.v_threshold, where, "v_threshold")
    if np.any(node.v_leak) or np.any(node.v_reset) or node.metadata.get("reset") != part.reset:
        raise CheckpointError(
            f"{where}: expected v_leak and v_reset 0 and metadata reset {part.reset!r}", hint="export the encoder again"
        )
    decays = [(part.leak, tau)]
    if part.synapse is not None:
        decays.append((part.synapse, _finite(node.tau_syn, where, "time constants")))
    for parameter, constant in decays:
        decay = 1 - dt / constant
        nearest = np.round(decay / LEAK_STEP) * LEAK_STEP
        if decay.min() < -1e-12 or decay.max() > LARGEST_LEAK + 1e-12:
            raise CheckpointError(
                f"{where}: time constants of {constant.min():g} to {constant.max():g} s, expected {dt:g} to "
                f"{dt / (1 - LARGEST_LEAK):g}",
                hint="limit them before the import",
            )
        if np.abs(nearest - decay).max() > 1e-12:
            raise CheckpointError(
                f"{where}: decay factors 1 - dt / tau that are no multiples of {LEAK_STEP:g}",
                hint="round them; the encoder computes with rounded decay factors",
            )
        parameter.copy_(torch.from_numpy(nearest))
    gains = {"r": (node.r, tau)} | ({"w_in": (node.w_in, node.tau_syn)} if current_based else {})
    for key, (value, constant) in gains.items():
        if not np.allclose(np.asarray(value) * dt, constant, rtol=1e-9):
            raise CheckpointError(
                f"{where}: {key} is not the time constant divided by dt = {dt:g} s, as this encoder needs",
                hint="fold other gains into the weights",
            )
    if threshold.min() < LEAST_THRESHOLD:
        raise CheckpointError(f"{where}: v_threshold {threshold.min():g}, expected at least {LEAST_THRESHOLD:g}")
    part.threshold.copy_(torch.from_numpy(threshold))


def _finite(value: Any, where: str, what: str) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise CheckpointError(f"{where}: {what} has values that are no finite numbers", hint="export the encoder again")
    return array


def _on_grid(value: np.ndarray, where: str, what: str) -> np.ndarray:
    """Weights that would be rounded are refused: the encoder would spike otherwise than the graph."""
    if np.any(np.round(value / WEIGHT_STEP) * WEIGHT_STEP != value):
        raise CheckpointError(
            f"{where}: {what} has values that are no multiples of {WEIGHT_STEP:g}",
            hint="round them; the encoder computes with rounded weights",
        )
    return value


def _check_structure(graph: Any, expected: Any, source: str | Path) -> None:
    """The graph must be that of the encoder in its metadata, except for its values."""
    for name in sorted(set(graph.nodes) ^ set(expected.nodes)):
        fault = "is missing" if name in expected.nodes else "is not a part of an l2mu"
        raise CheckpointError(f"{source}: node {name!r} {fault}", hint="export the encoder again")
    for name, node in expected.nodes.items():
        found = graph.nodes[name]
        shapes = [_shapes(one) for one in (found, node)]
        if type(found) is not type(node) or shapes[0] != shapes[1]:
            raise CheckpointError(
                f"{source}: node {name!r} is {type(found).__name__} {shapes[0]}, expected {type(node).__name__} "
                f"{shapes[1]}",
                hint="export the encoder again",
            )
    if set(graph.edges) != set(expected.edges):
        edge = sorted(set(graph.edges) ^ set(expected.edges))[0]
        fault = "is missing" if edge in expected.edges else "is not a part of an l2mu"
        raise CheckpointError(f"{source}: edge {edge[0]!r} -> {edge[1]!r} {fault}", hint="export the encoder again")
    for name in (name for name, node in expected.nodes.items() if hasattr(node, "delay") or hasattr(node, "scale")):
        key = "delay" if hasattr(expected.nodes[name], "delay") else "scale"
        if not np.array_equal(getattr(graph.nodes[name], key), getattr(expected.nodes[name], key)):
            raise CheckpointError(f"{source}: node {name!r} has another {key}", hint="export the encoder again")


def _shapes(node: Any) -> dict[str, tuple[int, ...]]:
    return {key: value.shape for key, value in sorted(vars(node).items()) if isinstance(value, np.ndarray)}


def _prepared(bundle: EncoderBundle, windows: np.ndarray) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(np.ascontiguousarray(windows)).to(bundle.mean.device)
    there = x.isfinite()
    return bundle.normalise(torch.where(there, x, 0), there), there


@torch.no_grad()
def _activity(bundle: EncoderBundle, windows: np.ndarray) -> Activity:
    done = _spiking(bundle).activity(*_prepared(bundle, windows))
    spikes = {name: train.cpu() for name, train in done.spikes.items()}
    return Activity(inputs=done.inputs.cpu(), spikes=spikes, membrane=done.membrane.cpu())


def _compared(bundle: EncoderBundle, again: EncoderBundle, windows: np.ndarray) -> int:
    """Number of spikes on windows, all of them equal in both encoders."""
    ours, theirs = (_activity(one, windows) for one in (bundle, again))
    for name, train in ours.spikes.items():
        different = int((train != theirs.spikes[name]).sum())
        if different:
            raise ParityError(
                f"the NIR file gives other spikes: {different} of population {name!r} on {len(windows)} windows",
                hint="please report this with the config of the encoder",
            )
    if not torch.equal(ours.membrane, theirs.membrane):
        raise ParityError("the NIR file gives other membrane potentials", hint="please report this with the config")
    return sum(int(train.count_nonzero()) for train in ours.spikes.values())


def _refuse_overwrite(target: Path, force: bool) -> None:
    if is_free(target):
        return
    if not (target / FACTS_FILE).is_file() or not (target / NIR_FILE).is_file():
        raise CheckpointError(f"{target} exists and is not a NIR export", hint="choose another output folder")
    if not force:
        raise CheckpointError(
            f"{target} already contains an export", hint="choose another folder, or replace it with --force"
        )


def _card(facts: Mapping[str, Any]) -> str:
    spec, cost = facts["input"], facts["cost"]
    rows = [
        ("network", f"{facts['nodes']} nodes, {facts['edges']} edges"),
        ("input", f"{len(spec['channels'])} channels, one step per {1000 * facts['dt_s']:g} ms, normalised, no gaps"),
        ("output", "spikes of the hidden population `h`"),
        ("reset", f"{facts['reset']} (metadata of the neurons; NIR itself has only a reset to v_reset)"),
        ("check", f"{facts['compared']['spikes']:,} spikes on {facts['compared']['windows']} windows equal in torch"),
    ]
    if cost is not None:
        rows += [
            ("sparsity", f"{cost['sparsity']:.3f} on {cost['windows']} recorded windows"),
            ("synaptic operations", f"{cost['synaptic_operations']:,.0f} per window of {cost['steps']} steps"),
        ]
    table = "\n".join(["| fact | value |", "| --- | --- |", *(f"| {key} | {markdown(value)} |" for key, value in rows)])
    parts = [
        f"# NIR file of IMU encoder {code(facts['encoder']['name'])}",
        f"Exported by imu-video {markdown(facts['versions']['imu-video'])} from weights with sha256 "
        f"{code(facts['source_sha256'] or 'unknown')}.",
        table,
        f"Steps: {markdown(facts['stepping'])}.",
        f"{code(GOLDEN_FILE)} has one made window (`inputs`, steps x channels) and the spikes of every population for "
        "it; a simulator that follows these conventions reproduces them exactly.",
        f"`imu_video.export.load_nir({NIR_FILE!r})` reads the file as an encoder. Lineage and licences are those "
        "of the encoder; they are in export.json and in the metadata of the graph (key `imu_video`).",
    ]
    return "\n\n".join(parts) + "\n"
