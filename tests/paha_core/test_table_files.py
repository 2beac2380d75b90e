"""Tables as spreadsheets save them."""

from __future__ import annotations

import pytest

from paha_core.tables import TableError, decode_text, read_rows

TEXT = "name,place\r\n{},here\r\n"


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-8", "Köln 播音"),
        ("utf-8-sig", "Köln 播音"),
        ("utf-16", "Köln 播音"),
        ("utf-16-be", "\ufeffx"),
        ("utf-32", "Köln"),
        ("gbk", "播音"),
        ("gbk", "新闻主播 李梅, 朱镕基"),
        ("latin-1", "Köln"),
        ("latin-1", "Müller, José, señor, Ångström"),
        ("cp1252", "“quoted” – dash"),
    ],
)
def test_the_encodings_of_spreadsheets(encoding, name):
    if name.startswith("\ufeff"):
        data = (name[0] + TEXT.format(name[1:])).encode(encoding)
        assert read_rows(data, "t.csv")[0].cells["name"] == "x"
        return
    assert decode_text(f"name\r\n{name}\r\n".encode(encoding), "t.csv").splitlines()[1] == name


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_headers(delimiter):
    lines = ['"a, b; c"', "place"], ["1,5", "x y"]
    text = "\n".join(
        delimiter.join(f'"{c}"' if "," in c and '"' not in c else c for c in row) for row in lines
    )
    rows = read_rows(text.encode(), "t.csv", ("place",))
    assert rows[0].cells == {"a, b; c": "1,5", "place": "x y"}


def test_what_spreadsheets_add_is_left_out():
    text = "sep=;\r\n name ;place;;\r\na;b;;\r\n;;;\r\n\r\nc;d;;\r\n"
    rows = read_rows(text.encode(), "t.csv", ("name", "place"))
    assert [row.cells for row in rows] == [{"name": "a", "place": "b"}, {"name": "c", "place": "d"}]
    assert [(row.line, row.problem) for row in rows] == [(2, ""), (5, "")]


@pytest.mark.parametrize(
    "data",
    [
        b"sep=;\rname;place\ra;b\r",  # line ends of old Macs
        "\ufeffname,place\na,b\n".encode("utf-8-sig"),  # saved twice with a mark
        "name\u200b,\u200eplace\n\u200ba,b\u200f\n".encode(),  # copied from a web page
    ],
)
def test_marks_that_nobody_sees_are_left_out(data):
    rows = read_rows(data, "t.csv", ("name", "place"))
    assert [row.cells for row in rows] == [{"name": "a", "place": "b"}]


def test_a_row_with_a_cell_too_many_has_a_problem_and_a_short_one_empty_cells():
    rows = read_rows(b"a,b\n1,5,x\n2\n", "t.csv")
    assert rows[0].problem == "line 2 has 3 cells, the header 2"
    assert rows[1].cells == {"a": "2", "b": ""}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "t.csv is empty"),
        (b"c,b\n,\n", "t.csv has no rows"),
        (b"a;b\n1;2\n", "t.csv has no column c; its first line names 'a', 'b'"),
        (b"c,c\n1,2\n", "t.csv names the column c twice"),
        (b'c,d\n"1,2\n3,4\n', "check its quotation marks"),
        (b"\x89PNG\0\0\0c", "not a text file"),
        (b"\xff\xfea", "cut off"),
    ],
)
def test_what_can_not_be_read_is_one_sentence(data, message):
    with pytest.raises(TableError, match=message):
        read_rows(data, "t.csv", ("c",))
