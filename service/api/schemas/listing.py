"""Lists that are read page by page, as OpenAI has them: the id of the last item is the cursor of the next page."""

from typing import Annotated

from fastapi import Query

After = Annotated[str | None, Query(min_length=1, max_length=64)]
"""Id of the last item of the page before."""
