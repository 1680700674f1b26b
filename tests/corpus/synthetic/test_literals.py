import pytest

from corpus.synthetic.literals import lost_literal


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        ("Orders over 50 EUR in Oslo?", "Which Oslo orders cost more than 50 EUR?", None),
        ("Orders over 50 EUR?", "Orders over 70 EUR?", "50"),
        ("Orders in Oslo?", "Orders in Norway?", "oslo"),
        ('Find "red lamp".', "Find the lamp.", "red lamp"),
        ("What does --max-length do?", "What is it that length does?", "max-length"),
        ("Orders today?", "Orders of the last 30 days?", "30"),
        ("I lost my card and I'm in need.", "My card is gone.", None),
    ],
)
def test_numbers_and_names_survive(before: str, after: str, lost: str | None) -> None:
    assert lost_literal(before, after) == lost
