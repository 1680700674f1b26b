"""Choosing the next token of every row of a batch: processors, draws, logprobs and grammars."""
