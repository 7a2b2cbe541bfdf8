"""Stop signals: raised or noted inside a block, handlers of others kept, commands that end with a code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imu_video.runtime.signals import STOP, Stopped, handled, left_to_the_parent, stop_signal, stoppable

posix = pytest.mark.skipif(os.name != "posix", reason="no signals")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOP}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@posix
def test_the_signals_of_schedulers_are_among_them() -> None:
    names = {"SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGALRM"}
    assert {number.name for number in STOP} == names


@posix
@pytest.mark.parametrize("number", STOP)
def test_a_signal_ends_a_block_with_its_code(number: signal.Signals) -> None:
    if number == signal.SIGINT:
        signal.signal(number, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt), stoppable():
            os.kill(os.getpid(), number)
        return
    signal.signal(number, signal.SIG_DFL)
    for _ in range(2):
        with pytest.raises(Stopped) as caught, stoppable():
            os.kill(os.getpid(), number)
        assert (caught.value.code, caught.value.name) == (128 + number, number.name)
        assert signal.getsignal(number) == signal.SIG_DFL
    assert stop_signal(128 + number) == stop_signal(-number) == number


@posix
def test_what_is_ignored_or_handled_by_others_stays(tmp_path: Path) -> None:
    """``nohup`` ignores SIGHUP, and a program that uses this package may handle SIGALRM itself."""
    acted: list[int] = []

    def theirs(number: int, frame: object) -> None:
        acted.append(number)

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, theirs)
    with stoppable():
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGALRM)
    assert acted == [signal.SIGALRM]
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@posix
def test_an_inner_block_replaces_our_own_handlers_and_puts_them_back() -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    noted: list[int] = []

    def work() -> None:
        with stoppable():
            with handled(lambda number, frame: noted.append(number)):
                os.kill(os.getpid(), signal.SIGUSR1)
            assert noted == [signal.SIGUSR1]
            os.kill(os.getpid(), signal.SIGUSR1)

    with pytest.raises(Stopped):
        work()


def test_nothing_is_installed_outside_the_main_thread() -> None:
    before = {number: signal.getsignal(number) for number in STOP}
    seen: list[bool] = []

    def work() -> None:
        with stoppable():
            seen.append({number: signal.getsignal(number) for number in STOP} == before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]


@posix
def test_workers_leave_all_but_sigterm_to_their_parent() -> None:
    left_to_the_parent()
    for number in STOP:
        assert (signal.getsignal(number) == signal.SIG_IGN) == (number != signal.SIGTERM)


@posix
def test_a_command_removes_its_folder_and_ends_with_one_line(tmp_path: Path) -> None:
    text = f"""
import signal, sys
from pathlib import Path
from imu_video.runtime import console, files
from imu_video.runtime.signals import STOP

for number in STOP:  # as in a terminal: below `nohup` SIGHUP is ignored, and a handler leaves an ignored signal ignored
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    def app():
        with files.atomic_folder(Path({str(tmp_path / "out")!r})) as folder:
            (folder / "half").touch()
            signal.raise_signal(number)
    try:
        console.run(app)
    except SystemExit as leaving:
        sys.stderr.write(f"{{leaving.code}}\\n")
"""
    done = subprocess.run([sys.executable, "-P", "-c", text], capture_output=True, text=True, check=False)
    lines = ["interrupted" if number == signal.SIGINT else f"stopped by {number.name}" for number in STOP]
    assert done.stderr.splitlines() == [
        word for n, line in zip(STOP, lines, strict=True) for word in (line, str(128 + n))
    ]
    assert done.returncode == 0
    assert not list(tmp_path.iterdir())
