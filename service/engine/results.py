"""What a step's logits mean for its sequences.

Shape legend: N rows of logits of one step, V vocabulary.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from service.engine.endings import Endings
from service.engine.errors import EngineFailedError
from service.engine.residency.verifier import Canary, Verifier
from service.engine.sampling.logprobs import logprobs
from service.engine.sampling.matcher import Matcher
from service.engine.sampling.sampler import Choice, sample
from service.engine.sampling.state import SamplingState
from service.engine.scheduling.scheduler import Part, Scheduler
from service.engine.scheduling.sequence import Sequence as Run

_NOT_A_NUMBER = "the model's output is not a number; the adapter's weights may be too large"


class Results:
    """Scores and choices, handed to those who wait for them; engine thread only.

    Args:
        scheduler: told what has been computed.
        verifier: told of the adapters that were checked.
        endings: of those that have all they asked for.
        vocabulary_size: V.
    """

    def __init__(self, scheduler: Scheduler, verifier: Verifier, endings: Endings, vocabulary_size: int) -> None:
        self._scheduler = scheduler
        self._verifier = verifier
        self._endings = endings
        self._vocabulary_size = vocabulary_size

    @torch.inference_mode()
    def hand_out(self, parts: Sequence[Part], logits_NV: Tensor) -> None:
        """The logits' rows are part by part: first those that score the prompt, then the one that chooses a token."""
        row, choosing, rows = 0, [], []
        for part in parts:
            run, num_scored, wants = part.sequence, len(part.sequence.wanted(part.count)), wants_token(part)
            self._scheduler.computed(part)
            is_sound = num_scored == 0 or self._score(run, logits_NV[row : row + num_scored])
            row += num_scored + wants
            if not is_sound:
                self._endings.fail(run, EngineFailedError(_NOT_A_NUMBER))
            elif wants:
                choosing.append(run)
                rows.append(row - 1)
            elif run.num_left == 0:
                self._finish_scored(run)
        # Rows may be changed by the sampler, and scoring is done with them.
        self._choose(choosing, logits_NV if len(rows) == len(logits_NV) else logits_NV[rows])

    def _score(self, run: Run, logits_NV: Tensor) -> bool:
        """Whether the logits are numbers."""
        assert run.num_scored is not None
        first = run.num_scored - 1
        run.num_scored += len(logits_NV)
        targets = run.targets(first, first + len(logits_NV))
        if len(targets) > len(logits_NV):
            # Several tokens after one place.
            logits_NV = logits_NV[[at - first for at, _ in targets]]
        found = logprobs(logits_NV, [token for _, token in targets], run.request.params.prompt_logprobs or 0)
        run.output.scored(found)
        return not any(math.isnan(each.logprob) for each in found)

    def _finish_scored(self, run: Run) -> None:
        """Nothing tells whether the last token, or a prompt that was not scored, is sound."""
        if run.scores_prompt:
            self._scheduler.proven(run, run.num_shareable)
        self._endings.finish(run, "length")

    def _choose(self, runs: Sequence[Run], logits_NV: Tensor) -> None:
        answering = [at for at, run in enumerate(runs) if not isinstance(run.output, Canary)]
        for at, run in enumerate(runs):
            if isinstance(run.output, Canary):
                self._verifier.decide(run.output, logits_NV[at])
                self._endings.end(run)
        if len(answering) < len(runs):
            logits_NV = logits_NV[answering]
        states = [self._state(runs[at]) for at in answering]
        for at, choice in zip(answering, sample(logits_NV, states) if states else (), strict=True):
            self._accept(runs[at], choice)

    def _accept(self, run: Run, choice: Choice) -> None:
        state = self._state(run)
        if choice.failed:
            self._endings.fail(run, state.failure or EngineFailedError(_NOT_A_NUMBER))
            return
        self._scheduler.proven(run, run.num_computed)
        state.accept(choice.token_id)
        run.token_ids.append(choice.token_id)
        if run.output.chosen(choice):
            self._endings.end(run)
        elif state.ended:
            self._endings.finish(run, "stop")

    def _state(self, run: Run) -> SamplingState:
        if run.state is None:
            request = run.request
            matcher = None if run.grammar is None else Matcher(run.grammar.result(), request.stop_ids)
            run.state = SamplingState(
                request.params, request.prompt_ids, request.stop_ids, self._vocabulary_size, matcher
            )
        return run.state


def wants_token(part: Part) -> bool:
    """Whether a token is chosen after the part."""
    return part.count == part.sequence.num_left and part.sequence.request.params.max_tokens > 0
