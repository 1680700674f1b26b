import threading

import torch

from service.engine.residency.background import compute_alone


def test_the_thread_computes_alone_and_others_as_before() -> None:
    found: list[int] = []

    def run() -> None:
        compute_alone()
        found.append(torch.get_num_threads())

    before = torch.get_num_threads()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [1]
    assert torch.get_num_threads() == before
