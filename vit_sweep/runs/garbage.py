"""Python's search for garbage, while thousands of runs are held. An edge."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause Python's cycle collector: it walks all runs again and again, and there are no cycles among them.

    What was made meanwhile counts as old afterwards, or the next look for garbage would walk all of it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()
