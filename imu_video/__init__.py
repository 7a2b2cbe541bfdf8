"""imu_video: wearable motion encoders taught by frozen video models.

`import imu_video` is light: heavy packages load in the room that uses them. Start with `load_encoder`.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imu_video.bundle.encoder import EncoderBundle, InputSpec, load_encoder

try:
    __version__ = version("imu-video")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

__all__ = ["EncoderBundle", "InputSpec", "__version__", "load_encoder"]


def __getattr__(name: str) -> Any:
    if name in {"EncoderBundle", "InputSpec", "load_encoder"}:
        from imu_video.bundle import encoder as hub

        return getattr(hub, name)
    raise AttributeError(f"module 'imu_video' has no attribute {name!r}")
