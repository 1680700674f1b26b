"""One batch of scorings: right-padded sequences, one forward pass, logprobs of the wanted tokens."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from service.engine.batch import segments
from service.engine.layers import Routing
from service.engine.request import ScoreRequest, Scores
from service.engine.residency import Layers


@torch.inference_mode()
def score_batch(
    model: PreTrainedModel, routing: Routing, requests: Sequence[ScoreRequest], layers: Sequence[Layers]
) -> list[Scores]:
    """The scores of `requests`, in their order; `layers[i]` is the adapter of request i."""
    order = sorted(range(len(requests)), key=lambda at: id(layers[at]))
    longest = max(len(request.token_ids) for request in requests)
    ids = torch.zeros(len(order), longest, dtype=torch.long)
    mask = torch.zeros(len(order), longest, dtype=torch.long)
    for row, at in enumerate(order):
        tokens = requests[at].token_ids
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    routing.segments = segments([layers[at] for at in order])
    routing.num_rows = len(order)
    # The output head runs only from the first position that predicts a wanted token.
    first = min(request.start for request in requests) - 1
    columns = torch.arange(first, longest - 1, device=model.device)
    logits = model(
        input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False, logits_to_keep=columns
    ).logits
    scores: dict[int, Scores] = {}
    for row, at in enumerate(order):
        request = requests[at]
        wanted = logits[row, request.start - 1 - first : len(request.token_ids) - 1 - first].float()
        targets = torch.tensor(request.token_ids[request.start :], device=model.device)
        logprobs = torch.log_softmax(wanted, dim=-1).gather(1, targets[:, None])[:, 0]
        scores[at] = Scores(tuple(logprobs.tolist()), tuple((wanted.argmax(dim=-1) == targets).tolist()))
    return [scores[at] for at in range(len(requests))]
