"""Importing large libraries without the garbage collector."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Switch the garbage collector off for a while.

    Importing the detector's libraries makes some hundred thousand objects that stay; walking over them again and again
    takes a third of the time. Afterwards they count as old, or they were walked over twice more as young ones.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not gc.get_freeze_count():  # what others have frozen stays frozen
                gc.freeze()
                gc.unfreeze()
            gc.enable()
