import json
import re
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
import xgrammar
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from service.engine.errors import EngineClosedError, InvalidGrammarError
from service.engine.request import Grammar
from service.engine.sampling.grammar import GrammarCompiler, GrammarLimits

Write = Callable[..., tuple[str, bool]]
Compile = Callable[[Grammar], xgrammar.CompiledGrammar]

SEEDS = range(6)
SLOW_PATTERN = "|".join(f"[a-z]{{{length}}}x" for length in range(500))


def check_record(text: str) -> None:
    found = json.loads(text)
    assert set(found) == {"name", "age", "tags", "inner"}
    assert isinstance(found["name"], str)
    assert len(found["name"]) <= 8
    assert isinstance(found["age"], int)
    assert 0 <= found["age"] <= 120
    assert len(found["tags"]) <= 3
    assert set(found["tags"]) <= {"a", "b"}
    assert found["inner"] in (True, False, None)


def test_a_json_object_parses(compile_grammar: Compile, tiny_tokenizer: PreTrainedTokenizerBase, write: Write) -> None:
    compiled = compile_grammar(Grammar("json_object"))
    answers = [write(tiny_tokenizer, compiled, seed) for seed in range(20)]
    ended = [text for text, has_ended in answers if has_ended]
    assert len(ended) >= 5
    assert all(isinstance(json.loads(text), dict) for text in ended)


def test_an_answer_fits_its_schema(
    compile_grammar: Compile, tiny_tokenizer: PreTrainedTokenizerBase, write: Write, record_schema: str
) -> None:
    compiled = compile_grammar(Grammar("json_schema", record_schema))
    for seed in SEEDS:
        text, ended = write(tiny_tokenizer, compiled, seed)
        assert ended
        check_record(text)


@pytest.mark.parametrize("pattern", [r"[a-c]{2,5}-\d+", r"^(yes|no)!?$", r"日+\.", r"\w{1,4}@\w{1,4}\.(com|org)"])
def test_an_answer_matches_its_expression(
    compile_grammar: Compile, tiny_tokenizer: PreTrainedTokenizerBase, write: Write, pattern: str
) -> None:
    compiled = compile_grammar(Grammar("regex", pattern))
    for seed in SEEDS:
        text, ended = write(tiny_tokenizer, compiled, seed)
        assert ended
        assert re.fullmatch(pattern, text)


def test_an_answer_derives_from_its_grammar(
    compile_grammar: Compile, tiny_tokenizer: PreTrainedTokenizerBase, write: Write
) -> None:
    compiled = compile_grammar(Grammar("ebnf", 'root ::= "(" root ")" | "x"'))
    for seed in SEEDS:
        text, ended = write(tiny_tokenizer, compiled, seed)
        assert ended
        assert re.fullmatch(r"(\(*)x(\)*)", text)
        assert text.count("(") == text.count(")")


def test_an_answer_is_one_of_the_choices(
    compile_grammar: Compile, tiny_tokenizer: PreTrainedTokenizerBase, write: Write
) -> None:
    choices = ["yes", 'a "quoted" one', "back\\slash\nand line", "日本 😀", "[a-z]*", "\x01\x7f"]
    compiled = compile_grammar(Grammar("choice", json.dumps(choices)))
    found = {write(tiny_tokenizer, compiled, seed) for seed in range(40)}
    assert {text for text, _ in found} == set(choices)
    assert all(ended for _, ended in found)


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        (Grammar("regex", "[a-"), "cannot be compiled: Regex parsing error at position 4: Unclosed"),
        (Grammar("regex", "(?=a)a"), "Lookahead is not supported"),
        (Grammar("ebnf", "root ::= foo"), 'Rule "foo" is not defined'),
        (Grammar("ebnf", 'a ::= "x"'), 'The root rule with name "root" is not found'),
        (Grammar("ebnf", "root ::= root"), "nothing matches"),
        (Grammar("ebnf", "root ::= " + "(" * 5000 + '"a"' + ")" * 5000), "Nest layer exceeded"),
        (Grammar("json_schema", "{"), "the schema is not JSON"),
        (Grammar("json_schema", "[" * 9000), "the schema is nested too deep"),
        (Grammar("json_schema", '{"type": "foo"}'), 'Unsupported type "foo"'),
        (Grammar("json_schema", "5"), "Schema should be an object or bool"),
        (Grammar("json_schema", '{"items": ' * 21 + "{}" + "}" * 21), "deeper than 20 levels, which is the limit"),
        (Grammar("choice", "[]"), "at least one"),
        (Grammar("choice", "[1]"), "list of strings"),
        (Grammar("choice", '["\\ud800"]'), "surrogate"),
        (Grammar("regex", "\ud800"), "surrogate"),
        (Grammar("regex", "a" * 20_001), "longer than 20000 characters, which is the limit"),
        (Grammar("regex", SLOW_PATTERN), "more than 0.5 s to compile, which is the limit"),
    ],
)
def test_a_broken_grammar_says_why_in_one_line(compiler: GrammarCompiler, grammar: Grammar, message: str) -> None:
    with pytest.raises(InvalidGrammarError, match=re.escape(message)) as caught:
        compiler.compile(grammar).result(timeout=60)
    assert "\n" not in str(caught.value)
    assert ".cc" not in str(caught.value)


def test_after_a_grammar_that_took_too_long_others_compile(compile_grammar: Compile) -> None:
    with pytest.raises(InvalidGrammarError):
        compile_grammar(Grammar("regex", SLOW_PATTERN))
    assert compile_grammar(Grammar("regex", "after"))


def test_requests_share_a_compiled_grammar(compiler: GrammarCompiler) -> None:
    grammar = Grammar("regex", "shared")
    first, second = compiler.compile(grammar), compiler.compile(Grammar("regex", "shared"))
    assert first is second
    assert compiler.compile(grammar).result(timeout=60) is first.result(timeout=60)


def test_a_compiled_grammar_that_is_too_large_is_refused(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    limits = GrammarLimits(grammar_bytes=100, max_pending=1)
    compiler = GrammarCompiler(tiny_tokenizer, len(tiny_tokenizer), frozenset([0]), limits)
    first = compiler.compile(Grammar("regex", "[a-z]+"))
    second = compiler.compile(Grammar("regex", "[a-z]*"))
    try:
        with pytest.raises(InvalidGrammarError, match="1 grammars wait already"):
            second.result(timeout=60)
        with pytest.raises(InvalidGrammarError, match="0 MiB, which is the limit"):
            first.result(timeout=60)
    finally:
        compiler.close()


def test_a_compiler_that_needs_too_much_memory_is_refused(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    large = Grammar("json_schema", json.dumps({"enum": [f"value {number}" for number in range(9000)]}))
    limits = GrammarLimits(text_characters=1 << 20, seconds=60, compile_bytes=1 << 20)
    compiler = GrammarCompiler(tiny_tokenizer, len(tiny_tokenizer), frozenset([0]), limits)
    try:
        with pytest.raises(Exception, match=r"memory|did not start|bad_alloc"):
            compiler.compile(large).result(timeout=60)
    finally:
        compiler.close()


def test_closing_ends_what_is_being_compiled(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    compiler = GrammarCompiler(tiny_tokenizer, len(tiny_tokenizer), frozenset([0]), GrammarLimits(seconds=600))
    running: list[Future[Any]] = [compiler.compile(Grammar("regex", pattern)) for pattern in (SLOW_PATTERN, "a")]
    compiler.close()
    for future in [*running, compiler.compile(Grammar("regex", "b"))]:
        with pytest.raises(EngineClosedError):
            future.result(timeout=10)


def test_closing_an_unused_compiler_starts_nothing(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    GrammarCompiler(tiny_tokenizer, len(tiny_tokenizer), frozenset([0])).close()


@pytest.mark.slow
def test_a_real_tokenizer_writes_records(smollm2: Any, write: Write, record_schema: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    compiler = GrammarCompiler(tokenizer, 49_152, frozenset([tokenizer.eos_token_id]))
    try:
        compiled = compiler.compile(Grammar("json_schema", record_schema)).result(timeout=120)
        free = compiler.compile(Grammar("json_object")).result(timeout=120)
    finally:
        compiler.close()
    for seed in SEEDS:
        text, ended = write(tokenizer, compiled, seed)
        assert ended
        check_record(text)
        text, ended = write(tokenizer, free, seed)
        assert not ended or isinstance(json.loads(text), dict)


@pytest.mark.parametrize("lengths", [{"maxLength": 8}, {"minLength": 2}, {"minLength": 1, "maxLength": 3}])
def test_a_string_with_a_length_holds_no_control_characters(compile_grammar: Compile, lengths: dict[str, int]) -> None:
    compiled = compile_grammar(Grammar("json_schema", json.dumps({"type": "string", **lengths})))
    accepts = [xgrammar.GrammarMatcher(compiled).accept_string(text) for text in ('"aé"', '"a\x04"', '"a\t"', '"a\n"')]
    assert accepts == [True, False, False, False]
