"""Between the runs of a multirun in one process, memory is freed."""

import gc
import weakref
from types import SimpleNamespace

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from gan.run.ending import free_memory


class Part:
    """Refers to itself, as the parts of a run refer to each other."""

    def __init__(self) -> None:
        self.other = self


@pytest.mark.parametrize(("mode", "is_freed"), [(RunMode.MULTIRUN, True), (RunMode.RUN, False)])
def test_a_run_of_a_multirun_leaves_no_part_of_it_in_memory(monkeypatch, mode, is_freed):
    monkeypatch.setattr(HydraConfig, "get", lambda: SimpleNamespace(mode=mode))
    gc.disable()
    try:
        part = weakref.ref(Part())
        free_memory()
        assert (part() is None) == is_freed
    finally:
        gc.enable()
