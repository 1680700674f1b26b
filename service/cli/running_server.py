"""The server that a command needs: what it does happens there and nowhere else."""

from service.cli.client import Client
from service.cli.options import settings
from service.errors import SettingsError


def running_server(server: str | None, what: str) -> Client:
    """A client of the server that the flag or the environment names.

    Args:
        server: of the flag.
        what: what happens on a server, such as `jobs run`; for the message.

    Raises:
        SettingsError: no server is named.
    """
    chosen = settings(server=server)
    if not chosen.server:
        raise SettingsError(f"{what} on a server: give --server URL or set LORAD_SERVER, and start it with lorad serve")
    return Client(chosen.server, chosen.api_key)
