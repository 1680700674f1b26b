import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SERVER = Path(__file__).with_name("openai_server.py")


@dataclass(frozen=True)
class OpenAIServer:
    process: "subprocess.Popen[str]"
    url: str

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


StartServer = Callable[..., OpenAIServer]


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """`start_server(*refusals, port=0)`: a server that answers the last of these statuses first, then well."""
    started = []

    def start(*refusals: int, port: int = 0) -> OpenAIServer:
        command = [sys.executable, str(SERVER), str(port), *map(str, refusals)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return OpenAIServer(process, f"http://127.0.0.1:{process.stdout.readline().strip()}/v1")

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
