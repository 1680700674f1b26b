from base.loader import LoadedBase
from base.rendering import Renderer
from corpus.records import Record
from training.rows.examples import Encoder
from training.rows.pairs import prepare_pairs


def pair(prompt: str, chosen: str, rejected: str | None, line: int = 1) -> Record:
    turns = ({"role": "user", "content": prompt}, {"role": "assistant", "content": chosen})
    worse = None if rejected is None else {"role": "assistant", "content": rejected}
    return Record(kind="chat", file="pairs.jsonl", line=line, row={}, messages=turns, rejected=worse)


def test_only_the_last_answer_of_each_side_is_labelled(base: LoadedBase, renderer: Renderer) -> None:
    earlier = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})
    single = pair("count", "1 2 3", "no")
    record = Record(kind="chat", file="f", line=1, row={}, messages=earlier + single.messages, rejected=single.rejected)
    found = prepare_pairs([record], Encoder(base.tokenizer, renderer), 128)
    for example, messages in ((found.examples[0], record.messages), (found.rejected[0], record.rejected_messages)):
        start = len(renderer.prompt(messages[:-1]))
        assert not any(example.labelled[:start])
        assert example.labelled[start]
        assert example.input_ids == renderer.conversation(messages).input_ids


def test_what_is_no_pair_or_loses_an_answer_is_refused_by_file_and_line(base: LoadedBase, renderer: Renderer) -> None:
    records = [pair("a", "b", "c", 1), pair("a", "b", None, 2), pair("long " * 60, "b", "c", 3)]
    found = prepare_pairs(records, Encoder(base.tokenizer, renderer), 64)
    assert len(found.examples) == len(found.rejected) == 1
    assert [(row.file, row.line) for row in found.refused] == [("pairs.jsonl", 2), ("pairs.jsonl", 3)]
    assert "chosen and rejected" in found.refused[0].reason
    assert "--max-length" in found.refused[1].reason
