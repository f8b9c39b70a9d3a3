"""Which means are compared: those over the same trainings."""

from __future__ import annotations

from anomalae.experiments.studies.compared import NAMED, left_out, note_missing, place_of, whole


def test_what_a_row_lacks_is_counted_among_those_it_is_compared_with():
    table = [{"kind": kind, "trainings": 1} for kind in ("one", "one", "two", "two")]
    note_missing(table, [{"a", "b"}, {"b"}, {"c"}, {"d"}], lambda row: row["kind"])
    assert [row["missing"] for row in table] == [None, 1, 1, 1]
    assert whole(table) == table[:1]
    # A training that none has is missing nowhere.
    note_missing(table, [{"a"}] * 4)
    assert whole(table) == table


def test_a_training_is_known_by_its_classes_and_seed():
    asked = [{"normal": normal, "seed": seed} for normal in ([1], [1, 2], [12]) for seed in (0, 1)]
    assert len({place_of(each) for each in asked}) == 6


def test_what_is_left_out_is_named_once_and_not_without_end():
    table = [{"name": f"row {number // 2}", "trainings": 3, "missing": 1} for number in range(2 * NAMED)]
    words = "Not compared, as trainings are missing that others have: row 0 (3 of 4), "
    (said,) = left_out(table, lambda row: row["name"])
    assert said.startswith(words)
    assert said.endswith(f"and row {NAMED - 1} (3 of 4).")
    (said,) = left_out([*table, {"name": "last", "trainings": 1, "missing": 3}], lambda row: row["name"])
    assert said.endswith(" and 1 other.")
    assert left_out([{"trainings": 3, "missing": None}], str) == []
