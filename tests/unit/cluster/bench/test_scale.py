import pytest

from cluster.bench.scale import fitted, predict, tables


def lab(nodes: int, **seconds: float) -> dict[str, float]:
    row = dict.fromkeys(
        ("write_s", "replicate_s", "localise_s", "submit_s", "executors_s", "finish_s"), 2.0
    )
    return {
        "nodes": nodes,
        "copies": nodes,
        "images": 300,
        **row,
        "compute_s": 5 + 0.1 * 300 / nodes,
        **seconds,
    }


def test_lines_come_out_as_they_went_in() -> None:
    rows = [
        lab(count, submit_s=8 + 0.5 * count, replicate_s=3.0 + 4.0 * (count - 1))
        for count in (1, 2, 3, 5)
    ]
    terms = {term.step: term for term in fitted(rows)}
    found = {name: (term.base_s, term.each_s) for name, term in terms.items()}
    assert found["submit"] == pytest.approx((8.0, 0.5))
    assert found["replicate"] == pytest.approx((3.0, 4.0))
    assert found["compute"] == pytest.approx((5.0, 0.1))
    assert found["localise"] == pytest.approx((2.0, 0.0))
    assert all(term.error_s == pytest.approx(0, abs=1e-9) for term in terms.values())


def test_a_step_that_gets_faster_does_not_end_before_it_begins() -> None:
    terms = {term.step: term for term in fitted([lab(1, finish_s=9.0), lab(5, finish_s=1.0)])}
    assert (terms["finish"].base_s, terms["finish"].each_s) == (5.0, 0.0)
    assert terms["finish"].error_s == 4.0


def test_more_hosts_than_copies_wait_for_the_copies_links() -> None:
    terms = fitted([lab(1), lab(2), lab(5)])
    predicted = {row["hosts"]: row for row in predict(terms, archive_mb=125.0)}
    assert predicted[10]["localise_s"] == pytest.approx(2.0)
    # A copy serves a hundred hosts: its own, and 99 for a second each.
    assert predicted[1000]["localise_s"] == pytest.approx(2.0 + 99.0)
    assert predicted[1000]["compute_s"] * 10 == pytest.approx(predicted[100]["compute_s"])
    assert [len(table) for table in tables([lab(1), *map(vars, terms), *predicted.values()])] == [
        1,
        7,
        4,
    ]
