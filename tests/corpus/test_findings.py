from corpus.findings import NUM_SAMPLES, Sample, finding, shortened


def test_the_count_is_of_distinct_lines_unless_given() -> None:
    found = finding("c", "rows: {count}", lines=[3, 1, 3])
    assert (found.message, found.count, found.lines, found.severity) == ("rows: 2", 2, (1, 3), "warning")
    assert finding("c", "{count}", count=1234).message == "1,234"


def test_samples_are_few() -> None:
    samples = [Sample(file="a", line=n, detail="x") for n in range(20)]
    assert len(finding("c", "", samples=samples).samples) == NUM_SAMPLES


def test_a_detail_is_one_short_printable_line() -> None:
    assert shortened("a\n b\tc") == "a b c"
    assert shortened("\x1b[31mred\u202e") == "\\u001b[31mred\\u202e"
    cut = shortened("x" * 500 + "END")
    assert len(cut) <= 160
    assert cut.endswith("END")
    assert " … " in cut
