"""Encoder folders on the Hugging Face hub; the folder itself is written and read by encoder.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imu_video import __version__
from imu_video.bundle.encoder import load_encoder


def push_to_hub(folder: str | Path, repo_id: str, *, private: bool = True, api: Any | None = None) -> str:
    """Upload an encoder folder to a model repository on the Hugging Face hub and return its address.

    Args:
        folder: an encoder folder; it is loaded once first, so that nothing damaged is published.
        repo_id: ``owner/name``; created where it does not exist.
        private: of a repository that is created here.
        api: a ``huggingface_hub.HfApi``; None makes one, which uses the login of ``hf auth login``.

    Raises:
        CheckpointError: the folder is damaged or holds no encoder.
    """
    load_encoder(folder)
    if api is None:
        from huggingface_hub import HfApi

        api = HfApi()
    url = api.create_repo(repo_id, private=private, exist_ok=True)
    api.upload_folder(folder_path=str(folder), repo_id=repo_id, commit_message=f"imu-video {__version__} encoder")
    return str(url)
