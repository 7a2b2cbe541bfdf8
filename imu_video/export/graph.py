"""An encoder with its preparation of windows as one ONNX graph in float32; int8 and files are handled elsewhere."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from imu_video.bundle.encoder import EncoderBundle
from imu_video.errors import ConfigError
from imu_video.export.packages import needed

OPSET = 18
"""Version of the ONNX operators; ONNX Runtime reads it since 1.14."""
LONG = 1025
"""Least number of samples of the window that is traced for windows of any length."""
INPUT, OUTPUT = "imu", "features"
RECURRENT = ("LSTM", "GRU")
"""Operators with two trained weights, of the input and of the state."""
VERIFIED = ("segment_cnn", "resnet1d", "patch_tst", "tpn", "cnn_transformer", "hybrid")
"""Encoders that export with windows of any length, for the hint of an error; the tests hold the list to the code."""


class WindowGraph(nn.Module):
    """Windows in the units of the specification, with every value that is not finite as missing, to features.

    The mask of measured samples is computed from the window, so that the graph has one input and no caller can forget
    the mask.

    Args:
        bundle: encoder with its input specification.

    Shapes: (B, C, T) float32 at the rate of the specification -> (B, E).

    Example:
        >>> from imu_video.bundle.input_spec import InputSpec
        >>> spec = InputSpec(rate_hz=50, window_s=2, mean=(0,) * 6, std=(1,) * 6)
        >>> graph = WindowGraph(EncoderBundle(spec=spec, encoder={"name": "segment_cnn", "width": 8}))
        >>> graph(torch.full((2, 6, 100), float("nan"))).shape
        torch.Size([2, 80])
    """

    def __init__(self, bundle: EncoderBundle) -> None:
        super().__init__()
        self.bundle = bundle

    def forward(self, imu: Tensor) -> Tensor:
        """Features (B, E) of windows (B, C, T), NaN = missing."""
        there = imu.abs() < torch.inf  # false for NaN, too
        features: Tensor = self.bundle(torch.where(there, imu, 0), there)
        return features


@dataclass(frozen=True, kw_only=True)
class Graph:
    """An ONNX model in memory.

    Args:
        model: the model (``onnx.ModelProto``).
        samples: T if only windows of one length are accepted; None: any length.
        least: smallest T.
        layers: names of the nodes with trained weights (convolutions and matrix products), in order.
        program: the traced program (``torch.export.ExportedProgram``); None for a model that was made without torch.
    """

    model: Any
    samples: int | None
    least: int
    layers: tuple[str, ...]
    program: Any = None


def build_graph(bundle: EncoderBundle) -> Graph:
    """Trace an encoder and translate it to ONNX, for windows of any length where the encoder allows it.

    Args:
        bundle: encoder with its input specification; not changed.

    Raises:
        ConfigError: the extra is not installed, or the encoder has an operator that cannot be exported.
    """
    needed("onnx")
    needed("onnxscript")
    was, device = bundle.training, bundle.mean.device
    graph = WindowGraph(bundle.to("cpu")).eval()
    try:
        with quiet(), torch.no_grad():
            program, samples, least = _traced(graph, bundle)
            try:
                exported = torch.onnx.export(
                    program, dynamo=True, opset_version=OPSET, input_names=[INPUT], output_names=[OUTPUT], verbose=False
                )
                assert exported is not None  # only with a file to write
                model = exported.model_proto
            except Exception as error:  # the exporter's own classes of errors are private
                raise _refusal(bundle, error) from error
    finally:
        bundle.to(device).train(was)
    layers = _layers(model, bundle)
    _tidy(model, samples)
    return Graph(model=model, samples=samples, least=least, layers=layers, program=program)


def _traced(graph: WindowGraph, bundle: EncoderBundle) -> tuple[Any, int | None, int]:
    """The exported program, the only length that it accepts (None: any), and the smallest length."""
    dynamic = torch.export.Dim.DYNAMIC
    window = torch.zeros(3, len(bundle.spec.channels), bundle.spec.samples)
    # A long window: an axis of one step would become a constant of the program, for windows of any length.
    long = torch.zeros(3, len(bundle.spec.channels), max(4 * bundle.spec.samples + 1, LONG))
    try:
        program = torch.export.export(graph, (long,), dynamic_shapes={"imu": {0: dynamic, 2: dynamic}}, strict=False)
        least = _least(program)
    except Exception:  # some operators fix the length, which torch reports with several classes of errors
        least = window.shape[2] + 1
    if least <= window.shape[2]:
        return program, None, least
    try:
        fixed = torch.export.export(graph, (window,), dynamic_shapes={"imu": {0: dynamic}}, strict=False)
    except Exception as error:
        raise _refusal(bundle, error) from error
    return fixed, window.shape[2], window.shape[2]


def _least(program: Any) -> int:
    """Smallest window length that a program accepts."""
    place = next(node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs)
    lower = program.range_constraints[place.meta["val"].shape[2].node.expr].lower
    return 1 if lower <= 2 else int(lower)  # torch counts sizes below 2 as special cases; the encoders have none


def _refusal(bundle: EncoderBundle, error: Exception) -> ConfigError:
    name = bundle.encoder_config["name"]
    reason = _reason(error)
    return ConfigError(
        f"encoder {name!r} cannot be exported as ONNX: {reason}",
        hint="an encoder may not decide by the values of its input in Python (`if mask.all()`), and its operators need "
        f"a translation; these encoders export: {', '.join(VERIFIED)}",
    )


def _reason(error: BaseException) -> str:
    """The operator or condition of an error of the exporter, in one line."""
    deepest = error
    while deepest.__cause__ is not None:
        deepest = deepest.__cause__
    lines = [line.strip() for text in (str(deepest), str(error)) for line in text.splitlines() if line.strip()]
    return next((line for line in lines if "aten" in line or "data-dependent" in line or "No " in line), lines[0])[:300]


def _layers(model: Any, bundle: EncoderBundle) -> tuple[str, ...]:
    """Names of the nodes that multiply by trained weights.

    Tables such as the matrix of a Fourier transform are constants as well, but no parameters: they are not among them.
    """
    from onnx import numpy_helper

    parameters = dict(bundle.encoder.named_parameters())
    names = {f"bundle.encoder.{name}" for name in parameters}
    known: set[bytes] = set()
    for parameter in parameters.values():
        if parameter.ndim >= 2:
            value = parameter.detach().cpu().numpy()
            known |= {value.tobytes(), np.ascontiguousarray(value.T).tobytes()}
    trained = {
        tensor.name
        for tensor in model.graph.initializer
        if len(tensor.dims) >= 2 and (tensor.name in names or numpy_helper.to_array(tensor).tobytes() in known)
    }
    constants = {tensor.name for tensor in model.graph.initializer}
    return tuple(
        node.name
        for node in model.graph.node
        if (node.op_type in ("Conv", "Gemm", "MatMul") and len(node.input) > 1 and node.input[1] in trained)
        # The exporter reorders the gates of recurrent layers, so that their weights equal no parameter.
        or (node.op_type in RECURRENT and set(node.input[1:3]) <= constants)
    )


def _tidy(model: Any, samples: int | None) -> None:
    """Names for the axes; and no traces of the exporter, which make a small file several times larger."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    if samples is None:
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "samples"
    model.graph.name = "imu-video encoder"
    model.producer_name = "imu-video"


@contextmanager
def quiet() -> Iterator[None]:
    """The exporter logs every symbol and warns of its own deprecated calls; errors are raised in any case."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
