"""A PostgreSQL cluster of the tests' own: a temporary folder, a free port, a user that is not root."""

import gc
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
_SETTINGS = {
    # What a test writes need not survive a power cut.
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
}


def _binary(name: str) -> str | None:
    # Debian keeps them out of PATH.
    return shutil.which(name, path=os.pathsep.join([*map(str, reversed(_BINARIES)), os.environ.get("PATH", "")]))


class Cluster:
    """One PostgreSQL server, which tests may stop and start again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._run("initdb", "-D", str(folder / "data"), "-U", "lorad", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()

    def url(self, name: str) -> str:
        return f"postgresql+pg8000://lorad@127.0.0.1:{self.port}/{name}"

    def make_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{uuid4().hex[:16]}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "lorad", name)
        return self.url(name)

    def start(self) -> None:
        options = " ".join(f"-c {name}='{value}'" for name, value in {**_SETTINGS, "port": self.port}.items())
        self._control("start", "-o", options, "-l", str(self._folder / "log"))

    def stop(self) -> None:
        """As a crash: connections are broken, nothing is written out."""
        self._control("stop", "-m", "immediate")

    def freeze(self) -> None:
        """No process of it answers any more, though the port still takes connections."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        postmaster = (self._folder / "data" / "postmaster.pid").read_text().split()[0]
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for process in (postmaster, *children):
            # One of its workers may end in between.
            with suppress(ProcessLookupError):
                os.kill(int(process), number)

    def _control(self, action: str, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-w", "-t", "60", action, *arguments)

    def _run(self, name: str, *arguments: str) -> None:
        binary = _binary(name)
        assert binary is not None
        # PostgreSQL refuses to run as root; Debian's package brings a user for it.
        command = [binary, *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        # To a file: the server would keep a pipe open for as long as it runs.
        with (self._folder / "output").open("ab") as output:
            done = subprocess.run(command, stdout=output, stderr=output, check=False, cwd=self._folder)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}:\n{(self._folder / 'output').read_text()}")


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A server in a temporary folder of its own."""
    # Not below pytest's own folder, which other users cannot enter.
    with tempfile.TemporaryDirectory(prefix="lorad-postgresql-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
        started = Cluster(folder)
        yield started
        started.stop()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """The session's cluster; skips where Debian's package `postgresql` is not installed."""
    missing = [name for name in ("initdb", "pg_ctl", "postgres", "createdb") if _binary(name) is None]
    if missing and "LORAD_TEST_REQUIRE_SERVERS" in os.environ:
        pytest.fail(f"PostgreSQL's {', '.join(missing)} are not installed: apt-get install postgresql")
    if missing:
        pytest.skip(f"PostgreSQL's {', '.join(missing)} are not installed: apt-get install postgresql")
    with cluster() as started:
        yield started


@pytest.fixture
def breakable_postgresql(request: pytest.FixtureRequest, postgresql: Cluster) -> Iterator[Cluster]:
    """The session's cluster, for a test that breaks its connections.

    pg8000 leaves the socket of a connection that broke to the garbage collector, whose warning would fail whichever
    test runs then.
    """
    request.node.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
    yield postgresql
    gc.collect()


@pytest.fixture
def postgresql_url(postgresql: Cluster) -> Iterator[str]:
    """An empty database of this test's own."""
    yield postgresql.make_database()
    with warnings.catch_warnings():
        # As above: a process of the test that was killed, or a thread that has ended, may have left a connection.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/lorad.db"
    url: str = request.getfixturevalue("postgresql_url")
    return url
