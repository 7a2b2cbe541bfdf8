"""A run that has passed every check, and the lineage of its checkpoints; prepare.py builds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from imu_video.bundle.encoder import InputSpec
from imu_video.config import dump_yaml
from imu_video.runtime.distributed import World
from imu_video.runtime.references import restored
from pretrain.checkpoints.store import Checkpoint
from pretrain.config import PretrainConfig
from pretrain.identity import run_id, stored
from pretrain.prepare.data import Data
from pretrain.prepare.initial import Initial
from pretrain.prepare.origin import facts as continued_facts
from pretrain.prepare.texts import WindowTexts
from pretrain.runs.folder import RunFolder
from pretrain.runs.machine import describe_machine
from pretrain.training.parts import Parts


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that has passed every check and can start.

    Args:
        config: resolved.
        identity: what a continuation must share (`pretrain.identity`).
        folder: the run folder; nothing has been written to it.
        start: checkpoint folder that the run continues from, None for a new run.
        checkpoint: its content, None for a new run; for a new run that continues a finished one, the state of that.
        data: the data folders.
        accelerator: placement, DDP and precision.
        world: rank and world size of this process.
        parts: what the training loop runs on.
        texts: texts of the windows, None without an objective that needs them.
        initial: encoder that the run starts from, None for random weights.
    """

    config: PretrainConfig
    identity: dict[str, Any]
    folder: RunFolder
    start: Path | None
    checkpoint: Checkpoint | None
    data: Data
    accelerator: Accelerator
    world: World
    parts: Parts
    texts: WindowTexts | None = None
    initial: Initial | None = None

    @property
    def run_id(self) -> str:
        """Digest of the identity."""
        return run_id(self.identity)

    @property
    def spec(self) -> InputSpec:
        """Input specification of the student, normalisation included."""
        return self.parts.task.model.student.spec

    def lineage(self) -> dict[str, Any]:
        """What every checkpoint carries, so that it can be continued and exported without its data."""
        return {
            "run_id": self.run_id,
            "recipe": restored(self.config.name),
            "identity": stored(self.identity),
            "config": dump_yaml(self.config),
            "control": self.config.data.control,
            "input": self.spec.model_dump(mode="json"),
            "teacher": restored(self.data.teacher_facts()),
            **({} if self.texts is None else {"text": restored(self.texts.facts())}),
            **({} if self.initial is None else {"init": restored(self.initial.facts())}),
            **self._continued(),
            "data": self.data.facts(),
            "processes": self.world.size,
            "machine": describe_machine(),
        }

    def _continued(self) -> dict[str, Any]:
        """The finished run that this one continues; known from its own checkpoints once it has one."""
        if self.config.continues is None or self.checkpoint is None:
            return {}
        if self.start is None:
            return {"continues": restored(continued_facts(self.checkpoint, self.config.continues))}
        return {"continues": self.checkpoint.state["continues"]}
