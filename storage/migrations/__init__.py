"""Alembic environment and hand-written revisions. Revisions import no models: they must mean the same for ever."""
