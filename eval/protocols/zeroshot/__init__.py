"""Zero-shot in four forms that are four claims: from video, by source labels, by teacher labels, by text.

Each has a module; what they share (who is asked, how it is counted) stands in `common`. No form's figures are ever in
a table with another's: the form is part of every result's identity.
"""

from __future__ import annotations

from eval.protocols.zeroshot.common import embed_imu, embed_video
from eval.protocols.zeroshot.source import run_source
from eval.protocols.zeroshot.teacher import run_teacher
from eval.protocols.zeroshot.text import run_sentence, run_text
from eval.protocols.zeroshot.video import build_prototypes, run_zeroshot

__all__ = [
    "build_prototypes",
    "embed_imu",
    "embed_video",
    "run_sentence",
    "run_source",
    "run_teacher",
    "run_text",
    "run_zeroshot",
]
