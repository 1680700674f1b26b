from corpus.findings import NUM_SAMPLES, Sample, finding, place, shortened


def at(line: int, file: str = "a") -> Sample:
    return Sample(file=file, line=line, detail="x")


def test_the_count_is_of_distinct_rows_unless_given() -> None:
    found = finding("c", "rows: {count}", rows=[at(3), at(1), at(3), at(3, "b")])
    assert (found.message, found.count, found.severity) == ("rows: 3", 3, "warning")
    assert found.lines == {"a": (1, 3), "b": (3,)}
    assert finding("c", "{count}", count=1234).message == "1,234"


def test_a_row_of_another_file_is_named_with_it() -> None:
    assert (place(at(3), at(1)), place(at(3, "b"), at(1))) == ("line 3", "b:3")


def test_samples_are_few() -> None:
    samples = [at(n) for n in range(20)]
    assert len(finding("c", "", samples=samples).samples) == NUM_SAMPLES


def test_a_detail_is_one_short_printable_line() -> None:
    assert shortened("a\n b\tc") == "a b c"
    assert shortened("\x1b[31mred\u202e") == "\\u001b[31mred\\u202e"
    cut = shortened("x" * 500 + "END")
    assert len(cut) <= 160
    assert cut.endswith("END")
    assert " … " in cut
