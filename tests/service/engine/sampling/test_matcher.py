from collections.abc import Callable
from typing import Any

import pytest
import torch
import xgrammar
from transformers import PreTrainedTokenizerBase

from service.engine.request import Grammar, SamplingParams
from service.engine.sampling import matcher as module
from service.engine.sampling.matcher import Matcher, reason
from service.engine.sampling.sampler import sample
from service.engine.sampling.state import SamplingState
from service.engine.sampling.vocabulary import tokenizer_info

Compile = Callable[[Grammar], xgrammar.CompiledGrammar]
END = 0


def allowed(row: Matcher, size: int, barred: tuple[int, ...] = ()) -> set[int]:
    (mask,) = xgrammar.allocate_token_bitmask(1, size)
    row.fill(mask, barred)
    bits = (mask[:, None] >> torch.arange(32)) & 1
    return {token_id for token_id in bits.flatten().nonzero().flatten().tolist() if token_id < size}


@pytest.fixture
def token(tiny_tokenizer: PreTrainedTokenizerBase) -> Callable[[str], int]:
    def of(text: str) -> int:
        (token_id,) = tiny_tokenizer(text)["input_ids"]
        return int(token_id)

    return of


@pytest.fixture
def size(tiny_tokenizer: PreTrainedTokenizerBase) -> int:
    return len(tiny_tokenizer)


def test_what_may_follow(compile_grammar: Compile, token: Callable[[str], int], size: int) -> None:
    row = Matcher(compile_grammar(Grammar("regex", "x[yz]?")), (END,))
    assert allowed(row, size) == {token("x")}
    row.accept(token("x"))
    assert allowed(row, size) == {token("y"), token("z"), END}
    row.accept(token("z"))
    assert allowed(row, size) == {END}
    assert not row.ended
    row.accept(END)
    assert row.ended


def test_after_the_end_only_ends_may_follow(compile_grammar: Compile, size: int) -> None:
    row = Matcher(compile_grammar(Grammar("regex", "x*")), (END, 7))
    row.accept(7)
    assert row.ended
    assert allowed(row, size) == {END, 7}


@pytest.mark.parametrize("stop_ids", [(), (-1, 10**9)])
def test_without_usable_end_tokens_the_compilers_serve(
    compile_grammar: Compile, size: int, stop_ids: tuple[int, ...]
) -> None:
    assert END in allowed(Matcher(compile_grammar(Grammar("regex", "x*")), stop_ids), size)


def test_a_token_that_the_grammar_does_not_have_ends_the_answer(
    compile_grammar: Compile, token: Callable[[str], int], size: int
) -> None:
    row = Matcher(compile_grammar(Grammar("regex", "xx")), (END,))
    row.accept(token("y"))
    assert row.ended
    assert allowed(row, size) == {END}


def test_where_nothing_can_follow_the_answer_may_end(
    compile_grammar: Compile, token: Callable[[str], int], size: int
) -> None:
    row = Matcher(compile_grammar(Grammar("ebnf", 'root ::= "x" dead | "y"\ndead ::= dead "x"')), (END,))
    row.accept(token("x"))
    assert allowed(row, size) == {END}


def test_barred_tokens_may_come_where_there_is_nothing_else(
    compile_grammar: Compile, token: Callable[[str], int], size: int
) -> None:
    row = Matcher(compile_grammar(Grammar("regex", "xy?")), (END,))
    row.accept(token("x"))
    assert allowed(row, size, (END,)) == {token("y")}
    row.accept(token("y"))
    assert allowed(row, size, (END,)) == {END}


def test_special_tokens_are_no_text(
    compile_grammar: Compile, tiny_tokenizer: PreTrainedTokenizerBase, size: int
) -> None:
    row = Matcher(compile_grammar(Grammar("regex", "(.|\n)*")), (END,))
    assert allowed(row, size).isdisjoint(set(tiny_tokenizer.all_special_ids) - {END})
    assert len(allowed(row, size)) > 200


def test_answers_of_one_grammar_are_apart(compile_grammar: Compile, token: Callable[[str], int], size: int) -> None:
    compiled = compile_grammar(Grammar("regex", "xy"))
    first, second = Matcher(compiled, (END,)), Matcher(compiled, (END,))
    first.accept(token("x"))
    assert allowed(first, size) == {token("y")}
    assert allowed(second, size) == {token("x")}


def test_matching_that_takes_too_long_fails_its_row_alone(
    compile_grammar: Compile, token: Callable[[str], int], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GRACE_SECONDS", 0.05)
    monkeypatch.setattr(module, "_SECONDS_A_TOKEN", 0.0)
    params = SamplingParams(max_tokens=9)
    ambiguous = Matcher(compile_grammar(Grammar("ebnf", 'root ::= x\nx ::= x x x | x x | "x" | ""')), (END,))
    rows = [SamplingState(params, (), (END,), size, ambiguous), SamplingState(params, (), (END,), size)]
    logits = torch.zeros(2, size)
    logits[:, token("x")] = 1.0
    for _ in range(400):
        choices = sample(logits.clone(), rows)
        if choices[0].failed:
            break
        rows[0].accept(choices[0].token_id)
    assert choices[0].failed
    assert "less ambiguous" in str(rows[0].failure)
    assert not choices[1].failed
    assert choices[1].token_id == token("x")


@pytest.mark.parametrize(
    "values", [{"min_tokens": 5}, {"ignore_eos": True}, {"temperature": 1.0, "min_tokens": 5, "top_k": 3}]
)
def test_a_complete_answer_ends_whatever_else_is_asked(
    compile_grammar: Compile, size: int, token: Callable[[str], int], values: dict[str, Any]
) -> None:
    row = SamplingState(
        SamplingParams(max_tokens=9, **values),
        (),
        (END,),
        size,
        Matcher(compile_grammar(Grammar("regex", "x")), (END,)),
    )
    found = []
    while not row.ended:
        (choice,) = sample(torch.zeros(1, size), [row])
        row.accept(choice.token_id)
        found.append(choice.token_id)
    assert found == [token("x"), END]


def test_grammars_and_free_rows_share_a_batch(compile_grammar: Compile, size: int, token: Callable[[str], int]) -> None:
    params = SamplingParams(max_tokens=9)
    patterns = [None, "x", "y", None, "[xy]"]
    rows = [
        SamplingState(
            params, (), (END,), size, Matcher(compile_grammar(Grammar("regex", each)), (END,)) if each else None
        )
        for each in patterns
    ]
    logits = torch.zeros(5, size)
    logits[:, token("z")] = 9.0
    logits[:, token("y")] = 8.0
    found = [choice.token_id for choice in sample(logits, rows)]
    assert found == [token(text) for text in "zxyzy"]


def test_a_vocabulary_with_more_columns_than_tokens_never_gives_one_of_them(
    tiny_tokenizer: PreTrainedTokenizerBase,
) -> None:
    size = len(tiny_tokenizer) + 100
    info = tokenizer_info(tiny_tokenizer, size, frozenset([END]))
    compiled = xgrammar.GrammarCompiler(info, max_threads=1).compile_regex("(.|\n)*")
    found = allowed(Matcher(compiled, (END,)), size)
    assert max(found) < len(tiny_tokenizer)


def test_a_reason_is_one_line_without_the_place_in_the_source() -> None:
    error = RuntimeError("[19:03:30] /project/cpp/grammar.cc:489: Check failed: (a) is false: too\n  bad\n")
    assert reason(error) == "(a) is false: too bad"
    assert reason(RuntimeError("plain: text")) == "plain: text"
    assert reason(MemoryError()) == "MemoryError"
