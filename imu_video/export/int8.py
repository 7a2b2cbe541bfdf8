"""An ONNX model with int8 weights, calibrated on windows or without them; the float model is built elsewhere.

Only layers with trained weights are quantised. Statistics, pooling, norms and attention stay in float32: they are
cheap, and their range differs by orders of magnitude between windows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imu_video.errors import ConfigError
from imu_video.export.graph import INPUT, RECURRENT, Graph, quiet
from imu_video.export.packages import needed

Scheme = Literal["static", "weights"]
"""``static``: activations of the quantised layers are int8 as well, with ranges from calibration windows, so that the
layers are computed with integers. ``weights``: weights are stored in int8 and the layers are computed in float32."""
_BATCH = 64


def quantised(graph: Graph, windows: np.ndarray | None) -> tuple[Any, Scheme, tuple[str, ...]]:
    """The int8 form of a model, how it was made, and the names of its quantised layers.

    Args:
        graph: float model.
        windows: (N, C, T) windows of recordings in the units of the specification, NaN = missing: calibrates the ranges
            of activations. None: only weights are quantised.

    Raises:
        ConfigError: the extra is not installed, or no layer can be quantised.
    """
    if not graph.layers:
        raise ConfigError(
            "int8: the network has no layer with trained weights outside of a loop",
            hint="export with --onnx alone; a spiking encoder has fixed-point weights already (--nir)",
        )
    if windows is None:
        return _short_names(_weights_only(graph.model, graph.layers)), "weights", graph.layers
    inner = inner_layers(graph)
    first = tuple(name for name in graph.layers if name not in inner)
    return _short_names(_weights_only(_static(graph, windows, inner), first)), "static", graph.layers


def inner_layers(graph: Graph) -> tuple[str, ...]:
    """Layers that read the output of another layer.

    The first layer reads the window, whose range is that of the sensor: with 256 steps for 16 g, the movement of a
    subject at rest is below one step. It is cheap: its weights are int8, and it is computed in float32. So are
    recurrent layers, for which ONNX has no operator with integers.
    """
    behind: set[str] = set()  # tensors that depend on a layer
    inner = []
    for node in graph.model.graph.node:
        if behind & set(node.input):
            behind |= set(node.output)
            if node.name in graph.layers and node.op_type not in RECURRENT:
                inner.append(node.name)
        elif node.name in graph.layers:
            behind |= set(node.output)
    return tuple(inner)


def _static(graph: Graph, windows: np.ndarray, layers: tuple[str, ...]) -> Any:
    onnx, tools = needed("onnx"), needed("onnxruntime.quantization")

    class Reader(tools.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self.batches: Iterator[np.ndarray] = (
                np.ascontiguousarray(windows[i : i + _BATCH]) for i in range(0, len(windows), _BATCH)
            )

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch}

    copy = onnx.ModelProto()
    copy.CopyFrom(graph.model)
    if not layers:  # a network of one layer
        return copy
    with tempfile.TemporaryDirectory(prefix="imu-video-int8-") as folder, quiet():
        out = Path(folder) / "model.onnx"
        tools.quantize_static(
            copy,
            out,
            Reader(),
            quant_format=tools.QuantFormat.QDQ,
            per_channel=True,
            # Weights of 7 bits: processors without VNNI add pairs of products in 16 bits and saturate with weights of
            # 8 bits, which changes the features by more than the lost bit does.
            reduce_range=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            nodes_to_quantize=list(layers),
            calibrate_method=tools.CalibrationMethod.MinMax,
        )
        model = onnx.load(out)
    del model.graph.value_info[:]
    return model


def _weights_only(source: Any, layers: tuple[str, ...]) -> Any:
    """Every weight w of a layer as round(w / s) with one scale s per output, s = max |w| / 127."""
    onnx = needed("onnx")
    model = onnx.ModelProto()
    model.CopyFrom(source)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    done: dict[tuple[str, int], str] = {}
    nodes = []
    for node in model.graph.node:
        for place in _weights_of(node) if node.name in layers else ():
            name = node.input[place]
            axis = _output_axis(node)
            if (name, axis) not in done:
                weight = onnx.numpy_helper.to_array(tensors[name])
                other = tuple(i for i in range(weight.ndim) if i != axis)
                scale = np.maximum(np.abs(weight).max(axis=other, keepdims=True), 1e-30) / 127
                whole = np.clip(np.round(weight / scale), -127, 127).astype(np.int8)
                done[name, axis] = f"{name}_int8_{axis}"
                stored = (
                    onnx.numpy_helper.from_array(whole, f"{done[name, axis]}_stored"),
                    onnx.numpy_helper.from_array(scale.ravel().astype(np.float32), f"{done[name, axis]}_scale"),
                )
                model.graph.initializer.extend(stored)
                nodes.append(
                    onnx.helper.make_node(
                        "DequantizeLinear",
                        [t.name for t in stored],
                        [done[name, axis]],
                        f"{done[name, axis]}_node",
                        axis=axis,
                    )
                )
            node.input[place] = done[name, axis]
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    copied = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del model.graph.node[:]
    del model.graph.initializer[:]
    model.graph.node.extend(copied)
    model.graph.initializer.extend(kept)
    return model


def _weights_of(node: Any) -> tuple[int, ...]:
    """Places of a layer's weights among its inputs."""
    return (1, 2) if node.op_type in RECURRENT else (1,)


def _output_axis(node: Any) -> int:
    """Axis of the outputs of a layer's weight: the first of a convolution, the last of a matrix product.

    That of a recurrent layer is the second; its directions share their scales.
    """
    if node.op_type in RECURRENT:
        return 1
    if node.op_type == "Conv":
        return 0
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if transposed else 1


def _short_names(model: Any) -> Any:
    """The model with numbers as names of its tensors: in a small file, names are a tenth of the size."""
    graph = model.graph
    if any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        return model  # names of an outer graph may be used inside
    kept = {value.name for value in (*graph.input, *graph.output)}
    short: dict[str, str] = {"": ""}  # an optional input that is left out

    def renamed(name: str) -> str:
        return name if name in kept else short.setdefault(name, str(len(short)))

    for tensor in graph.initializer:
        tensor.name = renamed(tensor.name)
    for node in graph.node:
        node.name = ""
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    del graph.value_info[:]
    return model
