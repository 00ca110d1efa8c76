from experiments.bench.ahead_of_time.table import COLUMNS, markdown

COUNTS = {
    "kernels": 3, "launches": 3, "loops": [{"kernels": 2}], "numbers_gathered": 250_000, "rows_gathered": 7,
    "rows_scattered": 0, "sorts": 0, "host_transfers": 0, "flops": 0, "bytes": 0,
}  # fmt: skip
BEFORE = {"program": "p", "target": "v5e", "label": "before", "compile_cpu_seconds": 60.0, "bytes_per_device": 17e9}
BEFORE |= {"counts": COUNTS, "cycles": {"total": 2_000_000}}


def row_of(*cells):
    lines = markdown(list(cells)).splitlines()
    assert len(lines) == 3
    return dict(zip(("program", "target", *COLUMNS), (part.strip() for part in lines[2][1:-1].split("|")), strict=True))


def test_states_stand_side_by_side_where_they_differ():
    after = BEFORE | {"label": "after", "counts": COUNTS | {"numbers_gathered": 0}, "compile_cpu_seconds": 5.0}
    row = row_of(after, BEFORE)
    assert row["numbers gathered"] == "0.25M -> 0"
    assert row["compile, CPU s"] == "60 -> 5"
    assert (row["kernels"], row["Mcycles"], row["GB per device"]) == ("5", "2", "17, does not fit")


def test_a_program_that_was_not_compiled_says_why():
    why = "RESOURCE_EXHAUSTED: the total memory required (22.77G) exceeds available HBM (15.75G)."
    bare = {name: BEFORE[name] for name in ("program", "target", "label")}
    assert row_of(bare | {"failed": why})["GB per device"] == "22.77, does not fit"
    row = row_of(bare | {"failed": "not compiled in 10 s"}, BEFORE | {"label": "after"})
    assert row["GB per device"] == "not compiled in 10 s -> 17, does not fit"
    assert row["kernels"] == "- -> 5"
