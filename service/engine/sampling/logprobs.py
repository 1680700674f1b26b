"""How likely tokens were by the model's own distribution.

Shapes: T tokens, V vocabulary, C tokens of one chunk, K likeliest tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from service.engine.request import TokenLogprob

_CHUNK_BYTES = 128 << 20
_TEMPORARY_BYTES_A_LOGIT = 8
"""What logsumexp and topk need beside the float32 logits."""


def logprobs(logits_TV: Tensor, token_ids_T: Sequence[int] | Tensor, num_top: int) -> list[TokenLogprob]:
    """Each token's logprob and those of the likeliest ones, with a bounded amount of memory beside the logits.

    Args:
        logits_TV: the model's logits at the place before each token.
        token_ids_T: the tokens that followed.
        num_top: how many of the likeliest ones to report; 0: none.
    """
    token_ids_T = torch.as_tensor(token_ids_T, dtype=torch.long, device=logits_TV.device)
    num_rows = max(1, _CHUNK_BYTES // (_TEMPORARY_BYTES_A_LOGIT * logits_TV.shape[1]))
    chunks = zip(logits_TV.split(num_rows), token_ids_T.split(num_rows), strict=True)
    return [found for logits_CV, token_ids_C in chunks for found in _chunk(logits_CV, token_ids_C, num_top)]


def _chunk(logits_CV: Tensor, token_ids_C: Tensor, num_top: int) -> list[TokenLogprob]:
    logits_CV = logits_CV.float()
    norms_C1 = logits_CV.logsumexp(dim=1, keepdim=True)
    chosen_C = (logits_CV.gather(1, token_ids_C[:, None]) - norms_C1)[:, 0].tolist()
    tops = _tops(logits_CV, norms_C1, min(num_top, logits_CV.shape[1]))
    return [
        TokenLogprob(token_id, logprob, top)
        for token_id, logprob, top in zip(token_ids_C.tolist(), chosen_C, tops, strict=True)
    ]


def _tops(logits_CV: Tensor, norms_C1: Tensor, num_top: int) -> list[tuple[tuple[int, float], ...]]:
    if num_top == 0:
        return [()] * len(logits_CV)
    values_CK, token_ids_CK = logits_CV.topk(num_top, dim=1)
    pairs = zip(token_ids_CK.tolist(), (values_CK - norms_C1).tolist(), strict=True)
    return [tuple(zip(token_ids, values, strict=True)) for token_ids, values in pairs]
