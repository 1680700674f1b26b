"""Which catalogue a command works on."""

from service.cli.catalog import Catalog
from service.cli.client import Client
from service.cli.local_catalog import LocalCatalog
from service.cli.remote_catalog import RemoteCatalog
from service.registry.opening import open_registry
from service.settings import Settings


def open_catalog(settings: Settings) -> Catalog:
    """The server's where the settings name one, else that of `LORAD_HOME`."""
    if settings.server:
        return RemoteCatalog(Client(settings.server, settings.api_key))
    return LocalCatalog(open_registry(settings), settings)
