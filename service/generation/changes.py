"""What generations and claims both do to rows."""

from typing import cast

from sqlalchemy.orm import Session

from service.generation.errors import UnknownGenerationError
from service.generation.generation import Generation, Status
from service.generation.request import GenerationRequest
from service.generation.tables import GenerationRow


def find(session: Session, tenant: str, generation_id: str, *, for_update: bool = False) -> GenerationRow:
    """The row of a tenant's generation.

    Raises:
        UnknownGenerationError: the tenant has none of that id.
    """
    row = session.get(GenerationRow, generation_id, with_for_update=for_update or None)
    if row is None or row.tenant != tenant:
        raise UnknownGenerationError(generation_id)
    return row


def let_go(row: GenerationRow, status: Status) -> None:
    """Moves a generation to a state in which no server has it; what one still writes is refused from now on."""
    row.status = status
    row.token += 1
    row.lease_until = None


def generation_of(row: GenerationRow) -> Generation:
    """What a row says."""
    return Generation(
        id=row.id,
        tenant=row.tenant,
        status=cast(Status, row.status),
        request=GenerationRequest.model_validate(row.request),
        model=row.model,
        digest=row.digest,
        judge=row.judge,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        kept=row.kept,
        attempts=row.attempts,
        dropped=row.dropped,
        file_id=row.file_id,
        error=row.error,
    )
