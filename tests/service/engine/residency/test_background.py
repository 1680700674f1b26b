import os
import sys
import threading

import pytest
import torch

from service.engine.residency.background import stay_behind


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
def test_the_thread_goes_behind_and_no_other_does() -> None:
    found: list[tuple[int, int]] = []

    def run() -> None:
        stay_behind()
        found.append((os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), torch.get_num_threads()))

    before = os.getpriority(os.PRIO_PROCESS, 0)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(10, 1)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
