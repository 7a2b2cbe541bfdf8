"""The command `imu-video export`: an encoder as files for other runtimes; `imu_video.export` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imu_video.cli.options import Plugins, load_plugins
from imu_video.cli.predict import Encoder
from imu_video.errors import ConfigError
from imu_video.runtime import console

if TYPE_CHECKING:
    import numpy as np

    from imu_video.bundle.encoder import EncoderBundle


def export(
    encoder: Encoder,
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    onnx: Annotated[bool, typer.Option("--onnx", help="Write model.onnx (float32).")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Write model.int8.onnx.")] = False,
    program: Annotated[bool, typer.Option("--program", help="Write model.pt2, a program of torch.export.")] = False,
    head: Annotated[
        Path | None,
        typer.Option("--head", help="Head folder: its probabilities are a second output of the ONNX files."),
    ] = None,
    nir: Annotated[bool, typer.Option("--nir", help="Write network.nir (spiking encoders), without --onnx.")] = False,
    calibrate: Annotated[
        str | None,
        typer.Option(
            "--calibrate",
            metavar="SOURCE",
            help="Recording, folder with a dataset.yaml, or data folder: calibrates int8 and is compared; without it, "
            "only weights are int8. With --nir: sparsity is measured on it.",
        ),
    ] = None,
    windows: Annotated[int, typer.Option("--windows", min=2, help="Windows drawn from SOURCE.")] = 512,
    placement: Annotated[str | None, typer.Option("--placement", help="Read only this device of SOURCE.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    plugin: Plugins = None,
) -> None:
    """Write an encoder as ONNX, as a torch program, or as NIR, and verify that it computes the same as torch."""
    load_plugins(plugin)
    if not (onnx or int8 or program or nir):
        raise ConfigError(
            "no format was chosen",
            hint="pass --onnx, --int8 for a file with int8 weights, --program, or --nir for spiking encoders",
        )
    if head is not None and not (onnx or int8):
        raise ConfigError("--head needs an ONNX file", hint="add --onnx or --int8")
    if nir and (onnx or int8 or program):
        raise ConfigError("--nir and --onnx write different folders", hint="run the command once for each")
    if calibrate is None and placement is not None:
        raise ConfigError("--placement needs --calibrate", hint="--calibrate DATA --placement wrist")
    from imu_video.bundle.encoder import load_encoder
    from imu_video.export.calibration import sample_windows

    bundle = load_encoder(encoder)
    real = None if calibrate is None else sample_windows(bundle, calibrate, count=windows, placement=placement)
    if nir:
        _write_nir(bundle, out, windows=None if real is None else real.x, force=force)
        return
    from imu_video.bundle.head import load_head
    from imu_video.export.folder import FLOAT_FILE, INT8_FILE, PROGRAM_FILE, export_onnx

    fitted = None if head is None else load_head(head, encoder=bundle)
    done = export_onnx(bundle, out, onnx=onnx, int8=int8, program=program, windows=real, head=fitted, force=force)
    length = f"{done.least} samples and more" if done.samples is None else f"{done.samples} samples"
    for name in (FLOAT_FILE, PROGRAM_FILE):
        if name in done.bytes:
            console.say(
                f"wrote {out / name}: {done.bytes[name] / 1000:,.0f} kB, windows of {length}; largest difference from "
                f"torch {done.parity.difference:.2g} on {done.parity.windows} windows"
            )
    if done.int8 is not None:
        how = "calibrated" if done.int8.scheme == "static" else "int8 weights only; --calibrate SOURCE also calibrates"
        console.say(
            f"wrote {out / INT8_FILE}: {done.int8.bytes / 1000:,.0f} kB, {done.int8.layers} layers ({how}); cosine of "
            f"features with float32: mean {done.int8.mean_cosine:.4f}, smallest {done.int8.cosine:.4f} on "
            f"{done.int8.windows} windows"
        )


def _write_nir(bundle: EncoderBundle, out: Path, *, windows: np.ndarray | None, force: bool) -> None:
    from imu_video.export.neuromorphic import NIR_FILE, export_nir

    done = export_nir(bundle, out, windows=windows, force=force)
    console.say(
        f"wrote {out / NIR_FILE}: {done.bytes / 1000:,.0f} kB, {done.nodes} nodes, {done.edges} edges; "
        f"{done.spikes:,} spikes on {done.windows} windows equal in torch and in the file"
    )
    if done.cost is not None:
        cost = done.cost
        console.say(
            f"on {cost.windows} windows of the source: sparsity {cost.sparsity:.3f}; per window "
            f"{cost.synaptic_operations:,.0f} synaptic operations and {cost.multiplications:,.0f} multiply-accumulates "
            f"with real-valued input; as matrix products {cost.dense_operations:,.0f} multiply-accumulates"
        )
