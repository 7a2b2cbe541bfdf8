"""Shipped encoders with random weights in a folder of a test; the package itself is not touched."""

from __future__ import annotations

import json
from pathlib import Path

from imu_video import EncoderBundle, InputSpec
from imu_video.bundle.pretrained import PretrainedEncoder
from imu_video.bundle.ship import Facts, ship

FACTS = {
    "summary": "An encoder of a test.",
    "licence": "Apache-2.0",
    "sources": [{"name": "a simulation", "url": "https://example.org/world", "licence": "CC0-1.0"}],
    "command": "make nothing",
}


def tiny(window_s: float = 2.0) -> EncoderBundle:
    spec = InputSpec(rate_hz=50, window_s=window_s, mean=(0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
    return EncoderBundle(spec=spec, encoder={"name": "resnet1d", "width": 4, "blocks": (1,)}).eval()


def empty_index(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    index = {"format": "imu-video-pretrained", "format_version": 1, "encoders": []}
    (root / "index.json").write_text(json.dumps(index))
    return root


def ship_tiny(root: Path, name: str = "imu-video/small", *, encoder: EncoderBundle | None = None) -> PretrainedEncoder:
    """Ship an untrained encoder to a folder of the test."""
    if not (root / "index.json").exists():
        empty_index(root)
    folder = (encoder or tiny()).save(root.parent / f"exported-{name.partition('/')[2]}", lineage={"run_id": "none"})
    return ship(folder, Facts(name=name, **FACTS), root=root)
