"""Opens the generations that the settings name."""

from service.files.files import Files
from service.generation.claims import GenerationClaims
from service.generation.desk import GenerationDesk
from service.generation.generations import Generations
from service.settings import Settings
from storage.database import Database


def open_generations(settings: Settings, database: Database, files: Files) -> GenerationDesk:
    """The generations of `settings`.

    Args:
        settings: the lease, and the operator's model.
        database: migrated.
        files: where seeds are and rows go.
    """
    return GenerationDesk(
        generations=Generations(database),
        claims=GenerationClaims(database, lease_seconds=settings.lease_seconds),
        files=files,
        settings=settings,
    )
