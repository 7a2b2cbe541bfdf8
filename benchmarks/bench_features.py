"""Feature extraction of an evaluation against bare forward passes of the same encoder on the same batches.

Both run in evaluation mode without gradient. The bare passes get tensors that are already normalised and masked;
`encoder_features` gets windows as they lie in the shards, and checks, masks and normalises them on its way.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from common import compare, heading, parser

from eval.data.features import encoder_features
from eval.data.windows import LabelledWindows
from imu_video.bundle.encoder import EncoderBundle, InputSpec
from imu_video.types import IMU_CHANNELS

RATE, STEPS, BATCH = 50.0, 250, 256


def made_windows(samples: int) -> LabelledWindows:
    """Noise around gravity, in SI units."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, 6, STEPS)).astype(np.float32)
    x[:, 2] += 9.81
    text = {name: np.full(samples, "made") for name in ("subject", "recording", "placement", "session", "split")}
    return LabelledWindows(
        x=x,
        labels=np.zeros(samples, np.int64),
        classes=("walk",),
        facts=text,
        start=np.zeros(samples),
        sample=np.arange(samples),
        dataset="made",
        digest="made",
        rate_hz=RATE,
        window_s=STEPS / RATE,
        channels=IMU_CHANNELS,
    )


def ways(entry: dict[str, object], windows: LabelledWindows) -> dict[str, Callable[[], int]]:
    """The alternatives for one encoder."""
    spec = InputSpec(rate_hz=RATE, window_s=STEPS / RATE, mean=(0.0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
    bundle = EncoderBundle(spec=spec, encoder=entry).eval()
    normalised = bundle.normalise(torch.from_numpy(windows.x))
    mask = torch.ones_like(normalised, dtype=torch.bool)

    @torch.inference_mode()
    def bare() -> int:
        return sum(
            len(bundle.encoder(normalised[i : i + BATCH], mask[i : i + BATCH])) for i in range(0, len(windows), BATCH)
        )

    return {"encoder_features": lambda: len(encoder_features(bundle, windows, batch_size=BATCH)), "bare": bare}


def main(samples: int, repeats: int) -> None:
    """Compare, an encoder at a time."""
    windows = made_windows(samples)
    for name in ("patch_tst", "resnet1d", "harood_cnn"):
        entry: dict[str, object] = {"name": name}
        print(f"\n{name}, defaults")
        compare(ways(entry, windows), repeats=repeats, unit="windows", against={"encoder_features": "bare"})


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--samples", type=int, default=1024)
    options = arguments.parse_args()
    heading(f"{options.samples} windows (6, {STEPS}) float32, batches of {BATCH}")
    main(options.samples, options.repeats)
