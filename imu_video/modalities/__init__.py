"""Modalities: name in shards, axes, cutting, storing and reading of each; no folder is opened here.

Every modality is one module; ``base`` defines their common interface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.modalities.base import Curve, Modality, Span, StreamSpec, modality_of, stream_name
    from imu_video.modalities.imu import Imu, ImuSpec
    from imu_video.modalities.mp4 import decode_mp4, encode_mp4
    from imu_video.modalities.skeleton import Skeleton, SkeletonSpec, SkeletonTrack
    from imu_video.modalities.video import ClipSpec, FrameSource, Video

__all__ = [
    "ClipSpec",
    "Curve",
    "FrameSource",
    "Imu",
    "ImuSpec",
    "Modality",
    "Skeleton",
    "SkeletonSpec",
    "SkeletonTrack",
    "Span",
    "StreamSpec",
    "Video",
    "decode_mp4",
    "encode_mp4",
    "modality_of",
    "stream_name",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "base": ["Curve", "Modality", "Span", "StreamSpec", "modality_of", "stream_name"],
        "imu": ["Imu", "ImuSpec"],
        "mp4": ["decode_mp4", "encode_mp4"],
        "skeleton": ["Skeleton", "SkeletonSpec", "SkeletonTrack"],
        "video": ["ClipSpec", "FrameSource", "Video"],
    },
)
