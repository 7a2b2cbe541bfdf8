"""An exported encoder on one core: torch eager, ONNX Runtime in float32 and in int8, window by window and in batches.

All of them get the same windows in SI units with a missing channel and gaps; masks and normalisation are part of each.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from common import compare, heading, parser, scratch

from imu_video.bundle.encoder import EncoderBundle, InputSpec, load_encoder
from imu_video.bundle.window_encoder import WindowEncoder
from imu_video.export import export_onnx, load_onnx
from imu_video.export.parity import made_windows


def opened(encoder: str) -> EncoderBundle:
    """An encoder folder, or a fresh encoder from a config entry in JSON."""
    if not encoder.startswith("{"):
        return load_encoder(encoder)
    spec = InputSpec(rate_hz=50, window_s=5, mean=(0.0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
    return EncoderBundle(spec=spec, encoder=json.loads(encoder)).eval()


def main(encoder: str, windows: int, repeats: int) -> None:
    torch.set_num_threads(1)
    bundle = opened(encoder)
    few = made_windows(bundle, bundle.spec.samples)
    x = np.tile(few, (-(-windows // len(few)), 1, 1))[:windows]
    gaps = x.copy()
    gaps[:, 0, 20:40] = np.nan
    gaps[::2, -1] = np.nan
    with scratch() as folder:
        done = export_onnx(bundle, folder / "out", int8=True, windows=x)
        runtimes: dict[str, WindowEncoder] = {
            "torch eager": bundle,
            "ONNX float32": load_onnx(folder / "out" / "model.onnx"),
            "ONNX int8": load_onnx(folder / "out" / "model.int8.onnx"),
        }
        assert done.int8 is not None
        print(
            f"{bundle.encoder_config['name']}: float32 {done.bytes['model.onnx']} bytes, int8 {done.int8.bytes} bytes"
        )
        for size in (1, 64):
            count = min(windows, 64) if size == 1 else windows

            def work(encoder: WindowEncoder, size: int = size, count: int = count) -> int:
                for i in range(0, count, size):
                    encoder.encode(gaps[i : i + size], rate_hz=bundle.spec.rate_hz, check_units=False)
                return count

            print(f"batches of {size}")
            ways = {name: (lambda e=e, work=work: work(e)) for name, e in runtimes.items()}
            compare(
                ways,
                repeats=repeats,
                unit="windows",
                against={"ONNX float32": "torch eager", "ONNX int8": "torch eager"},
            )


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--encoder", default='{"name": "segment_cnn", "width": 40, "blocks": 4}')
    options.add_argument("--windows", type=int, default=512)
    chosen = options.parse_args()
    heading("exported encoder")
    main(chosen.encoder, chosen.windows, chosen.repeats)
