"""The training loop; its parts are built in prepare/prepare.py, its output is in observe/reporter.py.

One update uses ``accumulate`` global batches. All randomness of a batch is a function of (seed, batch number, rank):
a resumed run needs no generator state, and on a CPU it ends bit-equal to an uninterrupted run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor

from imu_video.optim.groups import load_optimizer_tensors, optimizer_tensors, set_learning_rate
from imu_video.runtime.distributed import World
from imu_video.types import LossOutput, PairEmbeddings
from pretrain.checkpoints.store import Checkpoint, CheckpointStore
from pretrain.observe.reporter import Reporter, StopSignal
from pretrain.training.guards import NOT_WRITTEN, Buffers, check_rows, check_state, not_finite, step_not_finite
from pretrain.training.parts import Parts
from pretrain.training.rate import after_update, rate
from pretrain.training.state import Best, TrainState, step_seed
from pretrain.training.validate import validate


class Engine:
    """Trains the parts of a run from a state to the last step.

    Args:
        parts: model, losses, data and optimiser.
        accelerator: placement, DDP, mixed precision, clipping. The loader is never passed to it: a loader that already
            selects its rank's rows would be split a second time, and samples would silently be dropped.
        store: writes checkpoints.
        reporter: trackers and progress; silent on ranks other than 0.
        stop: set by SIGTERM and SIGINT.
        lineage: JSON stored in every checkpoint (identity, input specification ...).
    """

    def __init__(
        self,
        *,
        parts: Parts,
        accelerator: Accelerator,
        store: CheckpointStore,
        reporter: Reporter,
        stop: StopSignal,
        lineage: Mapping[str, object],
    ) -> None:
        self.parts, self.accelerator, self.store = parts, accelerator, store
        self.reporter, self.stop, self.lineage = reporter, stop, lineage
        self.config = parts.config
        self.state = TrainState()
        self.device = accelerator.device
        self.world = World(rank=accelerator.process_index, size=accelerator.num_processes)
        self.model = accelerator.prepare_model(parts.task)
        self.augmenter = parts.augmenter

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint."""
        self.parts.task.load_state_dict(checkpoint.model)
        load_optimizer_tensors(self.parts.optimizer, checkpoint.optimizer)
        self.state = TrainState.from_json(checkpoint.state["state"])

    def fit(self) -> TrainState:
        """Train to the last step, or to the end of the step in which a stop signal arrived.

        Raises:
            GuardStop: a loss, gradient or weight is not finite; the state before that step has been written.
        """
        run, steps = self.config.run, self.parts.steps
        begin, plan = self.state.step * self.config.optim.accumulate, self.parts.feed.loader.plan
        # One batch suffices: all batches come from the same plan, so a loader that is split twice fails here.
        check_rows(self.parts.feed.get(begin), self.config, self.device, repeats=plan.repeats)
        self.reporter.start(self.state.step, steps, best=getattr(self.state.best, "value", None))
        # Scores of the initial encoder are the baseline of all later scores.
        if self.state.step == self.parts.begin:
            self.reporter.numbers("validate", self.state.step, scores := self.validate())
            if self.parts.begin:
                # The last state of the finished run is the first that can be the best one of this run.
                self.choose(scores)
                self.save()
        stopping = False
        while self.state.step < steps and not stopping:
            numbers, stopping = self.update(self.state.step)
            step = self.state.step + 1
            plateau = after_update(step, numbers["loss"], self.config.optim, self.state.plateau, plan=plan)
            self.state = dataclasses.replace(self.state, step=step, plateau=plateau)
            last = step == steps
            if step % run.log_every == 0 or last:
                self.reporter.numbers("train", step, numbers)
            self.reporter.step(step, numbers)
            better = False
            if step % run.validate_every == 0 or last:
                better = self.choose(scores := self.validate())
                self.reporter.numbers("validate", step, scores)
            if better or last or stopping or step % run.checkpoint_every == 0:
                self.save()
        self.accelerator.wait_for_everyone()
        return self.state

    def update(self, step: int) -> tuple[dict[str, float], bool]:
        """One optimiser step: its metrics (means over batches and ranks), and whether a rank received a stop signal."""
        optim = self.config.optim
        started, waited, windows = time.perf_counter(), 0.0, 0
        begin = self.parts.begin
        lr = rate(step - begin, optim, steps=self.parts.steps - begin, plateau=self.state.plateau)
        set_learning_rate(self.parts.optimizer, lr)
        self.model.train()
        before = Buffers(self.parts.task)
        pairs: list[PairEmbeddings | None] = []
        outputs: list[LossOutput] = []
        for micro in range(optim.accumulate):
            number = step * optim.accumulate + micro
            begun = time.perf_counter()
            batch = self.parts.feed.get(number)
            waited += time.perf_counter() - begun
            windows += self.config.data.batch_size
            batch = self.augmenter.training(batch.to(self.device), number)
            # Dropout draws from the global generator: seeded per batch, a resumed run needs none of its state.
            torch.manual_seed(step_seed(self.config.seed, number, "dropout", rank=self.world.rank))
            # Gradients are all-reduced once per update, in its last batch.
            synchronise = micro == optim.accumulate - 1
            with contextlib.nullcontext() if synchronise else self.accelerator.no_sync(self.model):
                output, pair = self.model(batch, self.augmenter.draws(number, "draws"))
                # Gradients of the batches add up; the division makes their sum the gradient of the mean loss.
                self.accelerator.backward(output.total / optim.accumulate)
            pairs.append(pair)
            outputs.append(output)
        # An infinite limit still measures the norm, which is logged.
        limit = optim.clip_norm if optim.clip_norm is not None else math.inf
        norm = self.accelerator.clip_grad_norm_(self.parts.task.parameters(), limit)
        # Every rank decides on the same averaged numbers: a rank that stopped alone would leave the others waiting.
        numbers, stopping = self.agree(outputs, norm)
        if not (math.isfinite(numbers["loss"]) and math.isfinite(numbers["grad_norm"])):
            before.restore()
            self.save()  # the state before this step
            raise step_not_finite(self.parts, step, numbers, self.store.folder, self.device)
        self.parts.optimizer.step()
        self.parts.optimizer.zero_grad(set_to_none=True)
        # After the step, once per update: all batches of an update see the same queues.
        self.parts.task.observe(pairs)
        numbers |= {"lr": lr, "windows_per_s": windows / (time.perf_counter() - started), "data_wait_s": waited}
        return numbers, stopping

    def agree(self, outputs: list[LossOutput], norm: Tensor) -> tuple[dict[str, float], bool]:
        """Means over batches and ranks, and the stop flag, in a single all-reduce."""
        mean = {"loss": torch.stack([o.total.detach() for o in outputs]).mean(), "grad_norm": norm.detach()}
        for kind in ("terms", "stats"):
            for name in getattr(outputs[0], kind):
                mean[f"{kind}/{name}"] = torch.stack([getattr(o, kind)[name].detach().float() for o in outputs]).mean()
        flag = torch.tensor(float(self.stop.requested()), device=self.device)
        vector = torch.stack([flag, *(v.to(self.device, torch.float32) for v in mean.values())])
        told, *values = self.accelerator.reduce(vector, reduction="mean").tolist()
        return dict(zip(mean, values, strict=True)), told > 0

    def validate(self) -> dict[str, float]:
        """Scores on the validation split; empty without a validation split."""
        if self.parts.val_loader is None:
            return {}
        return validate(
            self.parts.task,
            self.parts.val_loader,
            batches=self.parts.val_batches,
            device=self.device,
            augmenter=self.augmenter,
        )

    def choose(self, scores: Mapping[str, float]) -> bool:
        """Update the best validation score; returns whether this one is the best."""
        rule = self.config.run.best
        # Without a validation split there is no score, and no checkpoint is marked as the best.
        if rule not in scores:
            return False
        if not math.isfinite(scores[rule]):
            raise not_finite(f"validation after step {self.state.step}: {rule} {scores[rule]}", NOT_WRITTEN)
        if self.state.best is not None and not self.state.best.beaten_by(scores[rule]):
            return False
        best = Best(rule=rule, value=scores[rule], step=self.state.step)
        self.state = dataclasses.replace(self.state, best=best)
        return True

    def save(self) -> None:
        """Write a checkpoint of the current state, which every rank checks (rank 0 only)."""
        check_state(self.parts.task, self.state.step, last=self.store.pointer("latest"))
        if self.accelerator.is_main_process:
            self.store.write(self.state.step, self.checkpoint())

    def checkpoint(self) -> Checkpoint:
        """The current state."""
        return Checkpoint(
            model=self.parts.task.state_dict(),
            optimizer=optimizer_tensors(self.parts.optimizer),
            state={**self.lineage, "state": self.state.to_json()},
        )
