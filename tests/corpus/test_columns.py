import pytest

from corpus.columns import ColumnMapping, Layout, detect
from corpus.errors import MappingConflictError, MissingColumnError, UnknownLayoutError


@pytest.mark.parametrize(
    ("columns", "layout"),
    [
        (["messages", "tools"], Layout(name="messages", messages="messages", tools="tools")),
        (["conversations"], Layout(name="messages", messages="conversations")),
        (
            ["instruction", "input", "output", "system"],
            Layout(
                name="instruction/output", prompt="instruction", input="input", completion="output", system="system"
            ),
        ),
        (
            ["Instruction", "Context", "Response"],
            Layout(name="instruction/output", prompt="Instruction", input="Context", completion="Response"),
        ),
        (["prompt", "completion"], Layout(name="prompt/completion", prompt="prompt", completion="completion")),
        (["input", "output"], Layout(name="prompt/completion", prompt="input", completion="output")),
        (["id", " Question", "ANSWER"], Layout(name="question/answer", prompt=" Question", completion="ANSWER")),
        (["label", "text"], Layout(name="text+label", text="text", label="label")),
        (["text", "id"], Layout(name="text", text="text")),
    ],
)
def test_a_layout_is_found_by_column_names_without_case(columns: list[str], layout: Layout) -> None:
    assert detect(columns) == layout


def test_precedence_is_as_documented() -> None:
    columns = ["text", "label", "question", "answer", "prompt", "completion", "instruction", "output", "messages"]
    order = []
    for used in (["messages"], ["instruction"], ["prompt"], ["question"], ["label"], ["text"]):
        order.append(detect(columns).name)
        columns = [column for column in columns if column not in used]
    assert order == [
        "messages",
        "instruction/output",
        "prompt/completion",
        "question/answer",
        "text+label",
        "text",
    ]


def test_mapped_columns_rule_over_names() -> None:
    columns = ["prompt", "completion", "Frage", "Antwort"]
    mapping = ColumnMapping(prompt="Frage", completion="antwort")
    assert detect(columns, mapping) == Layout(name="prompt/completion", prompt="Frage", completion="Antwort")


def test_the_column_not_mapped_is_found_by_name_and_is_never_the_mapped_one() -> None:
    assert detect(["question", "reply"], ColumnMapping(completion="reply")).prompt == "question"
    layout = detect(["output", "completion"], ColumnMapping(prompt="completion"))
    assert (layout.prompt, layout.completion) == ("completion", "output")


@pytest.mark.parametrize(
    ("mapping", "name"),
    [
        (ColumnMapping(text="body"), "text"),
        (ColumnMapping(text="body", label="kind"), "text+label"),
        (ColumnMapping(messages="chat"), "messages"),
        (ColumnMapping(prompt="body", completion="kind", system="chat"), "prompt/completion"),
    ],
)
def test_a_mapping_picks_its_layout(mapping: ColumnMapping, name: str) -> None:
    assert detect(["body", "kind", "chat"], mapping).name == name


def test_a_mapped_column_that_does_not_exist_names_the_nearest() -> None:
    with pytest.raises(MissingColumnError, match=r"no column 'anser' for the completion.*Did you mean 'answer'"):
        detect(["question", "answer"], ColumnMapping(completion="anser"))
    with pytest.raises(MissingColumnError) as caught:
        detect(["q", "a"], ColumnMapping(prompt="zzzzz"))
    assert "Did you mean" not in str(caught.value)


def test_a_mapping_for_two_layouts_is_refused() -> None:
    with pytest.raises(MappingConflictError, match=r"prompt='a', label='b'"):
        detect(["a", "b"], ColumnMapping(prompt="a", label="b"))


def test_unknown_columns_list_what_was_found_what_is_known_and_the_flags() -> None:
    with pytest.raises(UnknownLayoutError) as caught:
        detect(["stem", "choices"])
    message = str(caught.value)
    for part in ("'stem', 'choices'", "question/answer", "text+label", "--prompt-column", "--completion-column"):
        assert part in message


def test_a_system_column_without_anything_to_put_it_before_is_refused() -> None:
    with pytest.raises(UnknownLayoutError, match="system='note'"):
        detect(["text", "note"], ColumnMapping(system="note"))
