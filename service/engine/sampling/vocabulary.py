"""The base's tokens as a grammar sees them."""

import xgrammar
from transformers import PreTrainedTokenizerBase


def tokenizer_info(
    tokenizer: PreTrainedTokenizerBase, vocabulary_size: int, stop_ids: frozenset[int]
) -> xgrammar.TokenizerInfo:
    """Each token's bytes. Special tokens have none: in an answer they are not text, whatever they are spelled like.

    Args:
        tokenizer: the base's.
        vocabulary_size: columns of the logits.
        stop_ids: end tokens; none: the tokenizer's.
    """
    ends = sorted(token_id for token_id in stop_ids if token_id < vocabulary_size) or None
    spelled = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocabulary_size, stop_token_ids=ends)
    added = tokenizer.added_tokens_decoder.items()
    special = {token_id for token_id, token in added if token.special} | set(tokenizer.all_special_ids)
    tokens = [b"" if token_id in special else token for token_id, token in enumerate(spelled.decoded_vocab)]
    return xgrammar.TokenizerInfo(
        tokens,
        vocab_type=xgrammar.VocabType.RAW,
        vocab_size=vocabulary_size,
        stop_token_ids=list(spelled.stop_token_ids),
        add_prefix_space=spelled.add_prefix_space,
    )
