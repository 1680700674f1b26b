"""Compiling grammars beside the engine."""

import json
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock

import xgrammar
from transformers import PreTrainedTokenizerBase

from service.engine.errors import EngineClosedError, EngineError, InvalidGrammarError
from service.engine.request import Grammar
from service.engine.sampling.compile_frames import Setup
from service.engine.sampling.compile_process import CompileProcess
from service.engine.sampling.grammar_cache import GrammarCache
from service.engine.sampling.matcher import Matcher
from service.engine.sampling.schema import check_schema, parse_json
from service.engine.sampling.vocabulary import tokenizer_info

_JSON_OBJECT = '{"type": "object"}'


@dataclass(frozen=True, kw_only=True)
class GrammarLimits:
    """What one grammar, and all that are kept, may take."""

    text_characters: int = 131_072
    depth: int = 64
    """Levels of a JSON schema."""
    seconds: float = 10.0
    """Processor time to compile."""
    compile_bytes: int = 4 << 30
    """Data of the compiling process, Python and its libraries included."""
    grammar_bytes: int = 64 << 20
    """One compiled grammar."""
    cache_bytes: int = 256 << 20
    """Compiled grammars that are kept for requests to come."""
    max_pending: int = 256
    """Grammars that wait to be compiled."""


class GrammarCompiler:
    """Compiles in another process, one grammar at a time, and keeps what was used last. For any thread."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        vocabulary_size: int,
        stop_ids: frozenset[int],
        limits: GrammarLimits = GrammarLimits(),
    ) -> None:
        """Costs nothing until the first grammar.

        Args:
            tokenizer: the base's.
            vocabulary_size: columns of the logits.
            stop_ids: end tokens for requests that have none of their own.
            limits: bounds on what clients send.
        """
        self._vocabulary = (tokenizer, vocabulary_size, stop_ids)
        self._limits = limits
        self._lock = Lock()
        self._cache = GrammarCache(limits.cache_bytes)
        self._num_pending = 0
        self._closed = False
        # One thread, which is all that touches what comes after.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grammar")
        self._info: xgrammar.TokenizerInfo | None = None
        self._process: CompileProcess | None = None

    def compile(self, grammar: Grammar) -> "Future[xgrammar.CompiledGrammar]":
        """The compiled grammar, for `Matcher`. Requests share the future: it must not be cancelled.

        It fails with InvalidGrammarError (the grammar is broken, says what cannot be enforced, or reached a limit),
        EngineFailedError (no compiler) or EngineClosedError.
        """
        with self._lock:
            found = self._cache.get(grammar)
            if found is not None:
                return found
            if self._closed:
                return _failed(EngineClosedError())
            if self._num_pending >= self._limits.max_pending:
                return _failed(InvalidGrammarError(f"{self._num_pending} grammars wait already; try again later"))
            self._num_pending += 1
            future = self._thread.submit(self._compile, grammar)
            self._cache.put(grammar, future)
        future.add_done_callback(lambda done: self._done(grammar, done))
        return future

    def close(self) -> None:
        """Ends the compiling process; what is not compiled yet fails."""
        with self._lock:
            self._closed = True
            process = self._process
        if process is not None:
            process.close()
        self._thread.shutdown()
        if process is not None:
            process.reap()

    def _done(self, grammar: Grammar, future: "Future[xgrammar.CompiledGrammar]") -> None:
        with self._lock:
            self._num_pending -= 1
            if future.exception() is not None:
                self._cache.drop(grammar)
            else:
                self._cache.keep(grammar, future.result().memory_size_bytes)

    def _compile(self, grammar: Grammar) -> xgrammar.CompiledGrammar:
        prepared = prepare(grammar, self._limits)
        info, process = self._prepared()
        compiled = xgrammar.CompiledGrammar.deserialize_json(process.compile(prepared), info)
        if compiled.memory_size_bytes > self._limits.grammar_bytes:
            size = self._limits.grammar_bytes >> 20
            raise InvalidGrammarError(f"the compiled grammar takes more than {size} MiB, which is the limit")
        if Matcher(compiled, ()).is_stuck:
            raise InvalidGrammarError("nothing matches the grammar")
        return compiled

    def _prepared(self) -> tuple[xgrammar.TokenizerInfo, CompileProcess]:
        if self._info is None:
            self._info = tokenizer_info(*self._vocabulary)
        with self._lock:
            if self._closed:
                raise EngineClosedError
            if self._process is None:
                limits = self._limits
                setup = Setup(self._info.serialize_json(), limits.seconds, limits.compile_bytes)
                self._process = CompileProcess(setup)
        return self._info, self._process


def prepare(grammar: Grammar, limits: GrammarLimits) -> Grammar:
    """The grammar as the compiling process takes it.

    Raises:
        InvalidGrammarError: it is too long, too deep, or says what could not be enforced.
    """
    if len(grammar.text) > limits.text_characters:
        raise InvalidGrammarError(f"the grammar is longer than {limits.text_characters} characters, which is the limit")
    if not grammar.text.isascii():
        _check_encodable(grammar.text)
    match grammar.kind:
        case "json_object":
            return replace(grammar, text=_JSON_OBJECT)
        case "json_schema":
            check_schema(grammar.text, limits.depth)
        case "choice":
            return replace(grammar, text=_choices(grammar.text))
    return grammar


def _choices(text: str) -> str:
    choices = parse_json(text, "list of choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, str) for choice in choices):
        raise InvalidGrammarError("choices must be a list of strings, and at least one")
    for choice in choices:
        _check_encodable(choice)
    # A JSON string is one of EBNF too.
    return "root ::= " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)


def _check_encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidGrammarError("the grammar holds half of a surrogate pair, which is no character") from None


def _failed(error: EngineError) -> "Future[xgrammar.CompiledGrammar]":
    future: Future[xgrammar.CompiledGrammar] = Future()
    future.set_exception(error)
    return future
