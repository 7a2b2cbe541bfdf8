"""Progress on the screen, metrics to the trackers, and stop signals; no training here."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import FrameType, TracebackType
from typing import Any

from imu_video.runtime.signals import handled
from pretrain.observe.trackers import Tracker
from pretrain.runs.launch import PARENT

logger = logging.getLogger(__name__)


class StopSignal:
    """Records stop signals (`signals.STOP`), so that the current step is finished and a checkpoint written.

    Further signals change nothing: schedulers repeat them, and with ``--nproc`` a rank can receive one directly and
    from its supervisor. Only a second Ctrl-C in a run of one process has its usual effect. Ranks whose launcher was
    killed stop too.

    Example:
        >>> with StopSignal() as stop:
        ...     stop.requested()
        False
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._handled: AbstractContextManager[None] = contextlib.nullcontext()
        self._interrupt: Any = None
        self._parent = int(os.environ.get(PARENT, 0))
        self._alone = "WORLD_SIZE" not in os.environ

    def __enter__(self) -> StopSignal:
        self._interrupt = signal.getsignal(signal.SIGINT)
        self._handled = handled(self._receive)
        self._handled.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handled.__exit__(None, None, None)

    def requested(self) -> bool:
        """Whether this process has received a stop signal or lost its launcher."""
        if self.received is None and self._parent and os.getppid() != self._parent:
            self.received = "loss of the launcher"
        return self.received is not None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            return
        self.received = signal.Signals(number).name
        if self._alone and self._interrupt is not None:
            signal.signal(signal.SIGINT, self._interrupt)


class Reporter:
    """Sends metrics to the trackers and shows progress; silent without trackers (all ranks but 0).

    On a terminal: one live line. Elsewhere: about twenty plain lines, and one per validation.

    Args:
        trackers: receive the metrics; empty on ranks other than 0.
        title: name of the run, shown at the start.
        live: draw the live line; None = when stdout is a terminal and the records of this module are shown.
    """

    def __init__(self, trackers: Sequence[Tracker] = (), *, title: str = "pretrain", live: bool | None = None) -> None:
        self.trackers = trackers
        self.title = title
        shown = logger.isEnabledFor(logging.INFO)
        self._live = shown and sys.stdout.isatty() if live is None else live
        self._bar: Any = None
        self._task: Any = None
        self._steps = 0
        self._shown: dict[str, str] = {}
        self._since = (0, 0.0)

    def start(self, step: int, steps: int, *, best: float | None = None) -> None:
        """Announce a run.

        Args:
            step: steps done.
            steps: steps of the whole run.
            best: best validation so far, None before the first.
        """
        if not self.trackers:
            return
        self._steps, self._since = steps, (step, time.perf_counter())
        if best is not None:
            self._shown["best"] = f"{best:.3f}"
        logger.info(f"{self.title}: {steps} steps" + (f", continuing after step {step}" if step else ""))
        if not self._live:
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("pretrain"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task("pretrain", total=steps, completed=step, numbers="")
        self._bar.start()

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        """Show one finished step."""
        if not self.trackers:
            return
        self._shown["loss"] = f"{numbers['loss']:.4f}"
        if self._bar is not None:
            self._shown["windows/s"] = f"{numbers['windows_per_s']:.0f}"
            self._bar.update(self._task, completed=step, numbers=self._line())
        elif step % max(1, self._steps // 20) == 0 or step == self._steps:
            before, at = self._since
            self._since = (step, time.perf_counter())
            rate = (step - before) / max(1e-9, self._since[1] - at)
            logger.info(f"step {step}/{self._steps}  {self._line()}  {rate:.1f} steps/s")

    def numbers(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        """Send metrics to every tracker; validation is also shown on the screen."""
        if not numbers:
            return
        for tracker in self.trackers:
            tracker.log(kind, step, numbers)
        if kind == "validate" and self.trackers:
            paired = "mrr" in numbers  # runs without a video side have nothing to retrieve
            self._shown |= {"val MRR": f"{numbers['mrr']:.3f}"} if paired else {"val loss": f"{numbers['loss']:.4f}"}
            if self._bar is None:
                line = f"step {step}/{self._steps}  validation: loss {numbers['loss']:.4f}"
                if paired:
                    both = " / ".join(f"{numbers[f'{way}/R@1']:.3f}" for way in ("imu_to_video", "video_to_imu"))
                    line += f"  MRR {numbers['mrr']:.3f}  R@1 {both} in {numbers['gallery']:.0f} pairs"
                logger.info(line)

    def close(self) -> None:
        """Stop the progress line and close the trackers."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        for tracker in self.trackers:
            tracker.close()

    def _line(self) -> str:
        order = ("loss", "val MRR", "val loss", "best", "windows/s")
        return "  ".join(f"{name} {self._shown[name]}" for name in order if name in self._shown)
