"""The records of a study, looked at before anything is worked out. An edge, without numpy and scipy: it is quick."""

import hashlib
from functools import cached_property

from launchers.checked import to_compact_json
from vit_sweep.runs.garbage import gc_paused
from vit_sweep.runs.reading import Reader
from vit_sweep.study.store import Study


class Records:
    """The records of a study that are about to be read."""

    def __init__(self, study: Study, target: float | None = None) -> None:
        """Look which there are; `target`: test accuracy whose time is reported, in place of the studies'."""
        self.study, self.plan = study, study.plan_file()
        with gc_paused():
            self.reader = Reader(study, self.plan, target=target)

    @property
    def stamp(self) -> str | None:
        """What is the same for as long as all tables are, where nothing is open or wrong; asked after `gather` it is of
        what that has read."""
        records = self.reader.stamp
        if records is None or self.plan is None:
            return None
        decisions = b"".join(to_compact_json(entry) for entry in self.study.decisions())
        return f"{records} {hashlib.sha256(self._plan_text + decisions).hexdigest()}"

    @cached_property
    def _plan_text(self) -> bytes:
        """Asked for twice, and of thousands of cells as much as their tables."""
        return to_compact_json(self.plan)
