import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from evaluation.scorers.rouge import WordTokenizer, rouge_l

ASCII = st.text(st.characters(max_codepoint=127), max_size=80)
SENTENCES = st.lists(st.sampled_from(["the", "Cat's", "sat", "on", "a_b", "mat.", "3.5", "-"]), max_size=15).map(
    " ".join
)


@given(text=st.one_of(ASCII, SENTENCES), reference=st.one_of(ASCII, SENTENCES))
def test_ascii_scores_are_those_of_rouge_score(text: str, reference: str) -> None:
    expected = RougeScorer(["rougeL"], use_stemmer=False).score(reference, text)["rougeL"].fmeasure
    assert rouge_l(text, reference) == expected


def test_a_worked_example() -> None:
    # The longest common subsequence is "the cat the mat": 4 of 5 words and 4 of 6.
    assert rouge_l("the cat near the mat", "the cat sat on the mat") == pytest.approx(
        2 * (4 / 5) * (4 / 6) / (4 / 5 + 4 / 6)
    )


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("你好, world", ["你", "好", "world"]),
        ("用LoRA微调。", ["用", "lora", "微", "调"]),
        ("Café déjà-vu", ["café", "déjà", "vu"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("Привет, мир!", ["привет", "мир"]),
        ("ひらがな", ["ひ", "ら", "が", "な"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("…", []),
    ],
)
def test_words_of_any_script_are_tokens_and_unspaced_letters_are_one_each(text: str, tokens: list[str]) -> None:
    assert WordTokenizer().tokenize(text) == tokens


def test_chinese_is_scored_by_letters() -> None:
    assert rouge_l("今天天气好", "今天天气不好") == pytest.approx(2 * 1 * (5 / 6) / (1 + 5 / 6))


@given(st.text(max_size=60))
def test_a_text_scores_one_against_itself_unless_it_has_no_words(text: str) -> None:
    assert rouge_l(text, text) == (1.0 if WordTokenizer().tokenize(text) else 0.0)


def test_empty_texts_score_zero() -> None:
    assert rouge_l("", "word") == rouge_l("word", "") == rouge_l("", "") == 0.0
