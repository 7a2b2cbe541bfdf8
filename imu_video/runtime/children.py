"""Command lines and environment of child Pythons that do not import from the working folder; no processes are started.

Python puts the working folder first on the module search path of ``python -m`` and ``python -c``. A user's file there,
for example ``pretrain.py`` or ``random.py``, would be executed instead of our module or that of the standard library.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def python(*words: str) -> list[str]:
    """Command line of a child Python that ignores modules in the working folder.

    Args:
        words: arguments of the interpreter: ``-m``, a module and its arguments, or a script.

    Example:
        >>> python("-m", "pretrain")[1:]
        ['-P', '-m', 'pretrain']
    """
    return [sys.executable, "-P", *words]


@contextmanager
def without_working_folder() -> Iterator[None]:
    """Inside the block, Pythons that other libraries start also ignore modules in the working folder.

    multiprocessing and Ray build their own command lines, so only an environment variable reaches their processes. The
    variable is restored afterwards, because child processes of the caller must not be affected.
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
