"""Generations carried out on a server: files in, models opened, rows to a file again."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from corpus.errors import CorpusError
from corpus.synthetic.errors import SeedsError
from evaluation.errors import JudgeUnavailableError
from service.files.files import Files
from service.files.stored_file import checked_filename
from service.generation.claims import GenerationClaim, GenerationClaims
from service.generation.errors import WriterUnavailableError
from service.generation.generation import Generation, NewGeneration
from service.generation.generations import Generations
from service.generation.material import Material, NamedFile, prepare
from service.generation.models import Models, open_models
from service.generation.outcome import Outcomes
from service.generation.plan import Plan, Prepared
from service.generation.request import GenerationRequest
from service.generation.run import generate, rows_of
from service.inference.inference import Inference
from service.settings import Settings


@dataclass(frozen=True, kw_only=True)
class GenerationDesk:
    """All that generations on a server need, besides the engine."""

    generations: Generations
    claims: GenerationClaims
    files: Files
    settings: Settings

    def ask(self, inference: Inference, tenant: str, request: GenerationRequest) -> Generation:
        """Lets a generation wait, its models pinned and its files read once.

        Raises:
            UnknownFileError: a file is not there.
            InvalidFileError: no file can be called as the new one is to be.
            CorpusError: a file cannot be used for the recipe.
            AdapterError: a model means nothing.
            JudgeUnavailableError: the operator has set no model.
            TooManyGenerationsError: as many have not ended as may.
        """
        if request.filename is not None:
            checked_filename(request.filename)
        self._prepared(tenant, request)
        with open_models(self.settings, inference, tenant, request, request) as models:
            new = NewGeneration(
                request=request.model_copy(update=_pinned(request, models)),
                model=models.writer.name,
                digest=models.writer.digest,
                judge=None if models.judging is None else models.judging.name,
                base_digest=inference.base.digest,
            )
        return self.generations.create(tenant, new)

    def carry_out(self, inference: Inference, claim: GenerationClaim, should_stop: Callable[[], bool]) -> None:
        """Makes the rows and the file of them.

        Raises:
            StaleGenerationError: it was cancelled, or another server goes on with it.
            Whatever `should_stop` raises.
        """
        generation = claim.generation
        tenant, request = generation.tenant, generation.request
        outcomes = self.claims.outcomes(claim)
        prepared = self._prepared(tenant, request)
        error = None
        with open_models(self.settings, inference, tenant, request, request) as models:
            plan = Plan(prepared=prepared, options=request, writer=models.writer, judging=models.judging)
            try:
                tally = generate(plan, outcomes, lambda _tally: None, should_stop)
                if tally.kept < request.count:
                    error = f"{tally.kept} of {request.count} rows were kept in {tally.attempts} attempts, the limit"
            except (WriterUnavailableError, JudgeUnavailableError) as unavailable:
                error = str(unavailable)
        # Held for another lease, so that nobody else makes the file too.
        self.claims.renew(claim)
        file_id = self._file(generation, outcomes)
        self.claims.end(claim, "completed" if error is None else "partial", file_id=file_id, error=error)

    def _file(self, generation: Generation, outcomes: Outcomes) -> str | None:
        rows = rows_of(outcomes)
        if not rows:
            return None
        name = generation.request.filename or f"{generation.request.recipe}-{generation.id}.jsonl"
        lines = (json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n" for row in rows)
        return self.files.create(generation.tenant, name, "fine-tune", lines).id

    def _prepared(self, tenant: str, request: GenerationRequest) -> Prepared:
        material = Material(seeds=self._named(tenant, request.seeds), held_out=self._named(tenant, request.held_out))
        try:
            return prepare(request, material)
        except CorpusError as error:
            # Where the server keeps its files is none of the client's business.
            message = str(error)
            for file in (*material.seeds, *material.held_out):
                message = message.replace(str(file.path), file.name)
            raise SeedsError(message) from error

    def _named(self, tenant: str, ids: Sequence[str]) -> list[NamedFile]:
        return [NamedFile(self.files.local_copy(tenant, each), self.files.get(tenant, each).filename) for each in ids]


def _pinned(request: GenerationRequest, models: Models) -> dict[str, str]:
    """The request's references as they are meant now."""
    pinned = {"model": models.writer.name} if request.writer == "model" else {}
    if models.judging is not None and request.judged_by == "model":
        pinned["judge"] = models.judging.name
    return pinned
