"""Processes that die: `python -P dying.py worker WORKER_DIES_AT TRAINER_DIES_AT` or `… trainer DIES_AT COMMAND…`."""

import signal
import sys
from dataclasses import replace
from pathlib import Path

# Beside the tests' own, which are no package that is installed.
sys.path.append(str(Path(__file__).parents[2]))

from service.jobs.launcher import Launch, Launcher, Running
from service.jobs.opening import local_launcher, open_worker
from service.registry.opening import open_registry
from service.settings import Settings
from tests.service.jobs.dying import die_at


class Deadly:
    """The first trainer dies at a call that makes something durable; later ones live."""

    def __init__(self, launcher: Launcher, number: int) -> None:
        self._launcher = launcher
        self._number = number

    def start(self, launch: Launch) -> Running:
        """See `Launcher`."""
        if self._number:
            command = (sys.executable, "-P", __file__, "trainer", str(self._number), *launch.command[3:])
            launch = replace(launch, command=command)
            self._number = 0
        return self._launcher.start(launch)


def as_worker(worker_dies_at: int, trainer_dies_at: int) -> None:
    """What `Place.start` starts; 0: dies at no call."""
    settings = Settings()
    worker = open_worker(
        settings, open_registry(settings), slots=1, launcher=Deadly(local_launcher(settings), trainer_dies_at)
    )
    signal.signal(signal.SIGTERM, lambda _number, _frame: worker.leave())
    die_at(worker_dies_at)
    worker.run()


def as_trainer(number: int) -> None:
    """What `Deadly` starts."""
    from service.cli.main import main as command

    die_at(number)
    command()


if __name__ == "__main__":
    _, role, *numbers = sys.argv
    if role == "worker":
        as_worker(*map(int, numbers))
    else:
        del sys.argv[1:3]
        as_trainer(int(numbers[0]))
