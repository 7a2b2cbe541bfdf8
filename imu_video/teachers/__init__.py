"""Frozen teachers: clips, skeletons or sentences in, features out; no gradient of a student reaches a teacher.

The names below are imported at first use; the registry loads them all, which registers the built-in teachers. The
libraries behind a teacher (timm, transformers) are imported when that teacher is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.teachers.base import FrozenTeacher
    from imu_video.teachers.clip_models import OpenClipTeacher
    from imu_video.teachers.huggingface import HubTeacher
    from imu_video.teachers.projection import PCA, Orthogonal, Projection, make_projection
    from imu_video.teachers.sentences import Phrasing, TextTable, embed_texts
    from imu_video.teachers.skeleton import SkeletonTeacher
    from imu_video.teachers.text import SentenceEncoder
    from imu_video.teachers.timm_frames import FrameTeacher
    from imu_video.teachers.timm_models import TimmTeacher
    from imu_video.teachers.tiny import TinyTeacher
    from imu_video.teachers.torchvision_video import TorchvisionVideoTeacher

__all__ = [
    "PCA",
    "FrameTeacher",
    "FrozenTeacher",
    "HubTeacher",
    "OpenClipTeacher",
    "Orthogonal",
    "Phrasing",
    "Projection",
    "SentenceEncoder",
    "SkeletonTeacher",
    "TextTable",
    "TimmTeacher",
    "TinyTeacher",
    "TorchvisionVideoTeacher",
    "embed_texts",
    "make_projection",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "base": ["FrozenTeacher"],
        "clip_models": ["OpenClipTeacher"],
        "huggingface": ["HubTeacher"],
        "projection": ["PCA", "Orthogonal", "Projection", "make_projection"],
        "sentences": ["Phrasing", "TextTable", "embed_texts"],
        "skeleton": ["SkeletonTeacher"],
        "text": ["SentenceEncoder"],
        "timm_frames": ["FrameTeacher"],
        "timm_models": ["TimmTeacher"],
        "tiny": ["TinyTeacher"],
        "torchvision_video": ["TorchvisionVideoTeacher"],
    },
)
