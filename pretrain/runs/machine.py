"""What a run records about the machine and the source that it runs on; nothing is measured here."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def describe_machine() -> dict[str, Any]:
    """Versions, platform and source commit, recorded to make results reproducible."""
    packages = ("imu-video", "torch", "accelerate", "numpy", "safetensors")
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in packages}},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "commit": source_commit(),
    }


def source_commit() -> str | None:
    """Commit of the source tree, with ``+changes`` if it has uncommitted edits; None for an installed package."""
    here = Path(__file__).resolve().parent.parent.parent
    if not (here / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):  # no git on this machine: the commit is unknown, not an error
        return None
    return commit + ("+changes" if changed else "")
