"""What is asked of a generation, wherever it runs."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from corpus.synthetic.novelty import MAX_SIMILARITY
from corpus.synthetic.recipes.recipe import RecipeName
from corpus.synthetic.sieve import SieveOptions
from service.generation.form import WritingForm

ATTEMPTS_PER_ROW = 10
"""Where nobody says otherwise: a model of which fewer rows are kept is not worth waiting for."""
DEFAULT_TEMPERATURE = 0.7
"""Self-Instruct's: one seed gives different rows, and sentences hold together."""
MAX_COUNT = 100_000

FileId = Annotated[str, Field(pattern="^[A-Za-z0-9-]{1,64}$")]
ModelName = Annotated[str, Field(min_length=1, max_length=255)]


class GenerationOptions(BaseModel):
    """All but the files and the model."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    recipe: RecipeName
    """`paraphrase`: the prompts in other words, answers kept; `self-instruct`: new prompts and answers after the seeds'
    example; `questions`: questions about documents, with answers out of them."""
    count: Annotated[int, Field(ge=1, le=MAX_COUNT)]
    """Rows wanted."""
    max_attempts: Annotated[int, Field(ge=1, le=100 * MAX_COUNT)] | None = None
    """After which it ends with the rows it has; default ten for each row."""
    temperature: Annotated[float, Field(ge=0, le=2)] = DEFAULT_TEMPERATURE
    seed: Annotated[int, Field(ge=0, lt=1 << 53)] = 0
    """The same seed, model and files give the same rows."""
    form: WritingForm = "text"
    """How a model of the engine is asked: to continue a `text`, or in a `chat`."""
    max_similarity: Annotated[float, Field(gt=0, le=1)] = MAX_SIMILARITY
    """ROUGE-L to a seed, held-out or earlier new row from which a row is dropped."""
    min_characters: Annotated[int, Field(ge=0)] | None = None
    """Of a prompt; default half of the shortest seed's."""
    max_characters: Annotated[int, Field(ge=1)] | None = None
    """Of a prompt; default twice the longest seed's."""
    language: bool = True
    """Drop rows that are surely in another language than most seeds."""
    min_judged: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The least score, where there is a judge."""

    @property
    def most_attempts(self) -> int:
        """`max_attempts` or its default."""
        return self.max_attempts or ATTEMPTS_PER_ROW * self.count

    @property
    def sieve(self) -> SieveOptions:
        """The part that sifts."""
        return SieveOptions(
            max_similarity=self.max_similarity,
            min_characters=self.min_characters,
            max_characters=self.max_characters,
            language=self.language,
        )


class ModelChoices(BaseModel):
    """What writes, and what rates."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    writer: Literal["model", "operator"] = "model"
    """What writes: `model`, or the model behind the operator's LORAD_JUDGE_URL."""
    model: ModelName | None = None
    """Adapter reference; null is the base."""
    judged_by: Literal["nobody", "model", "operator"] = "nobody"
    """What rates each row that everything else has let through: `judge`, or the operator's model."""
    judge: ModelName | None = None
    """Adapter reference; null is the base."""

    @property
    def needs_engine(self) -> bool:
        """Whether one of them runs here."""
        return "model" in (self.writer, self.judged_by)

    @property
    def needs_operator(self) -> bool:
        """Whether one of them is the operator's."""
        return "operator" in (self.writer, self.judged_by)


class GenerationRequest(GenerationOptions, ModelChoices):
    """A generation that a server carries out, over files that lie there."""

    seeds: Annotated[list[FileId], Field(min_length=1, max_length=64)]
    """Files of `/v1/files`: rows, or for `questions` rows of plain text (`text`)."""
    held_out: Annotated[list[FileId], Field(max_length=64)] = Field(default_factory=list)
    """Files of rows that nothing new may resemble."""
    filename: Annotated[str, Field(pattern=r"^[^/\\]{1,240}\.jsonl$")] | None = None
    """Of the file that comes of it; default after the recipe and the generation's id."""
