from paha_core.benchmark.tables.published import PUBLISHED, published_beside
from paha_core.metrics.registry import METRICS


def test_every_table_exists() -> None:
    assert sorted(PUBLISHED) == [1, 2, 3, 5, 6, 7]  # 4 is the user study
    sizes = {number: len(table.cells) for number, table in PUBLISHED.items()}
    assert sizes == {1: 55, 2: 60, 3: 30, 5: 25, 6: 25, 7: 25}
    for table in PUBLISHED.values():
        assert all(cell.metric in METRICS for cell in table.cells)


def test_known_cells() -> None:
    assert PUBLISHED[1].value("S2G", "fgd", "cnas") == 27.523
    assert PUBLISHED[1].value("ANGIE", "fgd", "cnas") is None
    assert PUBLISHED[2].value("DG 100 %", "tc") == 141
    assert PUBLISHED[3].value("w/o PAR", "fvd") == 2145.72
    assert PUBLISHED[7].value("0.35", "bas") == 0.1582


def test_the_papers_contradictions_are_marked_where_they_stand() -> None:
    marked = {(c.table, c.metric, c.value) for t in PUBLISHED.values() for c in t.cells if c.note}
    assert marked == {
        (1, "diversity", 100.917),
        (2, "diversity", 99.604),
        (3, "diversity", 100.917),
        (1, "fvd", 2048.75),
        (2, "fvd", 2048.75),
        (5, "fvd", 2045.75),
        (6, "fvd", 2045.75),
        (7, "fvd", 2045.75),
    }


def test_the_published_number_beside_ours() -> None:
    assert published_beside("unguided", "pats", "fgd").value == 17.675
    assert published_beside("sequential", "cnas", "bas").value == 0.1241
    assert published_beside("differential", "pats", "tc").value == 112
    assert published_beside("unguided", "cnas", "fgd") is None
    assert published_beside("real", "pats", "fgd") is None
