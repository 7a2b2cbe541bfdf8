"""Child Pythons that do not import from the working folder; it starts no process itself.

Python puts the working folder first on the module search path of ``python -m`` and ``python -c``. A file of a user's
own there, for example ``pretrain.py`` or ``random.py``, would be executed in place of ours or of the standard library.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def python(*words: str) -> list[str]:
    """Command line of a child Python that ignores modules in the working folder.

    Args:
        words: what follows the interpreter: ``-m``, a module and its arguments, or a script.

    Example:
        >>> python("-m", "pretrain")[1:]
        ['-P', '-m', 'pretrain']
    """
    return [sys.executable, "-P", *words]


@contextmanager
def without_working_folder() -> Iterator[None]:
    """Inside the block, every Python that another library starts behaves like one of `python`.

    multiprocessing and Ray build their command lines themselves, and an environment variable is all that they pass on.
    The variable is restored afterwards, because a caller's own child processes are not ours to change.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before
