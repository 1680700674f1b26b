"""The process that compiles grammars: `python -m service.engine.sampling.compile_worker`.

A grammar of a few kilobytes can take hours and all memory to compile, and a thread inside the compiler cannot be
stopped; a process can. It reads frames from stdin and answers each with one on stdout: first the `Setup`, then
`Grammar`s, answered by `Compiled`.
"""

import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from typing import BinaryIO

import xgrammar

from service.engine.request import Grammar
from service.engine.sampling.compile_frames import Compiled, Setup, read_frame, write_frame
from service.engine.sampling.matcher import reason

_MAX_WHITESPACE_CHARACTERS = 16
"""In a row, between a JSON answer's tokens: small models would go on for ever."""
_NICENESS = 10
"""Running requests come before compiling."""
_LOOSE_CHARACTER = re.compile(r'^(\w+ ::= \(\()\[\^(\\"\\\\\\r\\n\]\)\))$', re.MULTILINE)
"""xgrammar's rule for a character of a string with a length: unlike its others it lets control characters through,
which JSON does not have."""


def main() -> None:
    """Answers until stdin ends."""
    frames = sys.stdin.buffer
    # Whatever a library may print must not come between the frames.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    setup = read_frame(frames, Setup)
    os.nice(_NICENESS)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [setup.memory_bytes] + [most] * (most != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), most))
    info = xgrammar.TokenizerInfo.deserialize_json(setup.tokenizer)
    compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
    write_frame(answers, Compiled("", is_valid=True))
    _serve(frames, answers, lambda grammar: _compiled(compiler, grammar, setup.seconds))


def _serve(frames: BinaryIO, answers: BinaryIO, compiled: Callable[[Grammar], Compiled]) -> None:
    while True:
        try:
            grammar = read_frame(frames, Grammar)
        except EOFError:
            return
        write_frame(answers, compiled(grammar))


def _compiled(compiler: xgrammar.GrammarCompiler, grammar: Grammar, seconds: float) -> Compiled:
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return Compiled(_compile(compiler, grammar).serialize_json(), is_valid=True)
    except (RuntimeError, ValueError, MemoryError) as error:
        return Compiled(reason(error), is_valid=False)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _compile(compiler: xgrammar.GrammarCompiler, grammar: Grammar) -> xgrammar.CompiledGrammar:
    match grammar.kind:
        case "regex":
            return compiler.compile_regex(grammar.text)
        case "ebnf" | "choice":
            return compiler.compile_grammar(grammar.text)
        case "json_object" | "json_schema":
            return _compile_schema(compiler, grammar.text)


def _compile_schema(compiler: xgrammar.GrammarCompiler, schema: str) -> xgrammar.CompiledGrammar:
    grammar = xgrammar.Grammar.from_json_schema(schema, max_whitespace_cnt=_MAX_WHITESPACE_CHARACTERS)
    mended, num_mended = _LOOSE_CHARACTER.subn(r"\1[^\\0-\\x1f\2", str(grammar))
    return compiler.compile_grammar(mended if num_mended else grammar)


if __name__ == "__main__":
    main()
