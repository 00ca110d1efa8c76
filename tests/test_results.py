"""What the READMEs say of studies is what their stored cells give."""

import functools
import itertools
import json
import math
import re

import pytest
import safetensors
from flax.traverse_util import unflatten_dict
from prose_samples import WORDS

from abkd_jax.run.identity import weights_digest
from abkd_jax.run.report.markdown import format_score
from abkd_jax.run.report.statistics import comparisons, estimate, metric_named, metric_of
from abkd_jax.run.report.tables import comparison_table
from abkd_jax.study.report.claims import decide
from abkd_jax.study.report.excerpt import excerpt, names_of_excerpts, with_excerpt
from abkd_jax.study.report.grid import Column, make_grid
from experiments import findings, recommended, starts, tuning_draws
from experiments.bench import latency
from experiments.bench.ahead_of_time import table as ahead_of_time
from experiments.configs.tables import CLAIMS, TABLES
from experiments.excerpts import cells_of
from experiments.report import Args
from experiments.study import RESULTS

README = (RESULTS.parent.parent / "README.md").read_text().replace("\n", " ")
README_LINES = (RESULTS.parent.parent / "README.md").read_text().splitlines()
HEADER = "| gain in test accuracy over soft labels | Cora | Citeseer | cora_ml | acm |"
TEXTS = {path.parent.name: path.read_text() for path in sorted(RESULTS.glob("*/README.md"))}


@pytest.mark.parametrize("name", TABLES)
def test_numbers_of_a_study_are_those_of_its_cells(name):
    """Once `experiments.report FOLDER --readme FOLDER/README.md` has put them there."""
    if not (RESULTS / name).exists():
        return
    cells = cells_of(RESULTS / name)
    assert {cell["table"] for cell in cells} == {name}
    options = Args(RESULTS / name)
    made, pictures = excerpt(cells, options.baseline, options.test, CLAIMS.get(name, ()))
    assert with_excerpt(TEXTS[name], name, made) == TEXTS[name]
    for picture in pictures:
        stored = (RESULTS / name / picture.name).read_bytes()
        if _drawn_by(stored) == _drawn_by(picture.svg):  # other versions draw the same otherwise
            assert stored == picture.svg


@pytest.mark.parametrize("name", names_of_excerpts(TEXTS.get(tuning_draws.FOLDER, "")))
def test_what_is_said_of_draws_is_what_their_cells_give(name):
    """Once `experiments.tuning_draws TABLE --readme experiments/results/tuning_draws/README.md` has put it there."""
    names, claims = tuning_draws.stored(name, RESULTS)
    again = (RESULTS / tuning_draws.FOLDER).glob(f"{name}_*")
    assert {f"{tuning_draws.FOLDER}/{path.name}" for path in again} == set(names[1:])
    text = TEXTS[tuning_draws.FOLDER]
    assert with_excerpt(text, name, tuning_draws.as_text(names, claims, RESULTS)) == text


def test_the_table_of_latencies_is_that_of_the_stored_benchmark():
    """Once `experiments.bench.latency --readme experiments/README.md` has put it there."""
    text = (RESULTS.parent / "README.md").read_text()
    stored = json.loads((RESULTS / "bench_latency.json").read_text())
    assert with_excerpt(text, latency.NAME, latency.as_text(stored["data"])) == text
    assert f"commit {stored['commit']}, untrained" in text
    rows = [row for of_graph in stored["data"].values() for row in of_graph["rows"]]
    small = [row["here_ms"] / row["pyg_ms"] for row in rows if " x 4" in row["method"]]
    others = [row["pyg_ms"] / row["here_ms"] for row in rows if " x 4" not in row["method"]]
    ends = [(f"{min(of):.1f}".lstrip("0"), f"{max(of):.1f}") for of in (others, small)]
    said = re.search(
        r"MLPs are (\S+) to (\S+) times faster here.* faster and some slower: (\S+) to (\S+) times", text, re.S
    )
    assert said
    assert said.groups() == (*ends[0], *ends[1])
    differ = re.search(r"differ by at most (\S+) of the largest", text)
    assert differ
    assert max(row["difference"] for row in rows) <= float(differ[1]) < latency.TOLERANCE


def test_the_table_of_compiled_programs_is_that_of_their_cells():
    """Once `experiments.bench.ahead_of_time --readme abkd_jax/aggregate/README.md` has put it there."""
    text = (RESULTS.parent.parent / "abkd_jax" / "aggregate" / "README.md").read_text()
    cells = json.loads((RESULTS / "bench_ahead_of_time.json").read_text())["cells"]
    assert with_excerpt(text, ahead_of_time.NAME, ahead_of_time.as_text(cells)) == text
    said = re.search(
        r"have (\d+) and (\d+) on an idle one.* that is (\S+) and (\S+) seconds of time on 2 cores\. GraphSAGE's and "
        r"GIN's, (\S+) and (\S+) seconds",
        re.sub(r"\s+", " ", text),
    )
    found = {cell["program"]: cell for cell in cells if (cell["target"], cell["label"]) == ("v5e", "after")}
    names = ("cora_teacher", "mag_rgcn", "arxiv_sage", "molbace_gin")
    busy = [f"{found[name]['compile_cpu_seconds']:.0f}" for name in names[:2]]
    assert said is not None
    assert said.groups() == (*busy, *(f"{found[name]['compile_seconds']:.2g}" for name in names))


def test_what_is_said_of_trimmed_layers_is_what_was_measured():
    text = re.sub(r"\s+", " ", (RESULTS.parent.parent / "abkd_jax" / "aggregate" / "README.md").read_text())
    said = re.search(
        r"takes (\S+) times less than with all rows\. .* (\S+) times as long .* with `trim_to_layer` and (\S+) times",
        text,
    )
    assert said is not None
    trimmed, *others = json.loads((RESULTS / "bench_trimmed.json").read_text())["rows"]
    assert trimmed["ratio"] == 1.0
    assert said.groups() == tuple(f"{row['ratio']:.1f}" for row in others)


def test_what_is_said_of_threads_that_draw_ahead_is_what_was_measured():
    text = re.sub(r"\s+", " ", (RESULTS.parent / "README.md").read_text())
    said = re.search(
        r"two threads on 2 cores made (\d+) batches a second ready for a TPU, in slots \((\d+) for a CPU", text
    )
    needed = re.search(r"the bound of one v5e takes (\w+) cores", text)
    bound = re.search(r"arxiv, GraphSAGE on 1,024 roots, .*? ms, (\d+) a second", text)
    assert said is not None
    assert needed is not None
    assert bound is not None
    stored = json.loads((RESULTS / "bench_sampling_ahead.json").read_text())
    rate = {row["what"]: row["batches_a_second"] for row in stored["rows"]}
    for_a_tpu, for_a_cpu = rate["ready for a TPU, 2 threads ahead"], rate["ready, 2 threads ahead"]
    assert said.groups() == (f"{for_a_tpu:.0f}", f"{for_a_cpu:.0f}")
    assert needed[1] == WORDS[math.ceil(int(bound[1]) / (for_a_tpu / 2))]


def test_what_is_said_of_starts_is_what_the_trials_give():
    """Once `experiments.starts --readme experiments/README.md` has put it there."""
    text = (RESULTS.parent / "README.md").read_text()
    made = starts.as_text(RESULTS)
    assert with_excerpt(text, "starts", made) == text
    means = made.split("\n\n")[0].splitlines()
    gained = [float(row.split("|")[5].split()[0]) for row in means[2:] if "teacher_input" not in row]
    changes = (RESULTS.parent.parent / "abkd_jax" / "CHANGELOG.md").read_text().replace("\n", " ")
    for said in (text.replace("\n", " "), changes):
        assert re.findall(r"(\S+) to (\S+) points (?:better|ahead)", said) == [(f"{min(gained)}", f"{max(gained)}")]


@pytest.mark.parametrize("program", [findings, recommended], ids=["findings", "recommended"])
def test_what_is_said_to_be_decided_is_what_tables_and_draws_decide(program):
    """Once `experiments.NAME --readme experiments/README.md` has put it there."""
    text, name = (RESULTS.parent / "README.md").read_text(), program.__name__.rpartition(".")[-1]
    assert with_excerpt(text, name, program.as_text(RESULTS)) == text


def test_the_picture_of_the_draws_is_of_their_cells():
    stored = (RESULTS / tuning_draws.FOLDER / tuning_draws.PICTURE).read_bytes()
    made = tuning_draws.picture(RESULTS)
    if _drawn_by(stored) == _drawn_by(made):
        assert stored == made


def _drawn_by(svg: bytes) -> list[bytes]:
    return re.findall(rb"Matplotlib v[\d.]+", svg)


DRAWS = {"regimes": 10, "deep_to_shallow": 9}  # where they are not 8
GAINS = {  # of the rows of the README's table: table, method, student, and the end of the claim where it has several
    "ABKD, GCNII 4 x 4": ("main", "abkd", "4x4"),
    "ABKD, GCNII 4 x 2": ("curve", "abkd", "4x2"),
    "ABKD, labelled nodes alone": ("regimes", "abkd", "4x4"),
    "`--soft-label.input teacher`, labelled nodes alone": ("regimes", "teacher_input", "4x4"),
    "the same over the best of four losses, as validation chose": (
        *("regimes", "teacher_input", "4x4", "best other loss"),
    ),
    "`--soft-label.start fitted` ([less to tune](experiments/README.md#initialisation)), GCNs of 64-layer GCNIIs": (
        *("deep_to_shallow", "soft_label_fitted", "gcn:4x4"),
    ),
    "`--soft-label.start attention_map` over a plain one, a fifth fewer edges": (
        *("perturbed", "soft_label_cut_out", "4x4"),
    ),
    "`--student.input-dropout 0.5`, noisy features": ("perturbed", "soft_label_dropout", "4x4", "noisy features"),
    "the same, nodes that were unseen in training": ("inductive", "soft_label_dropout", "4x4"),
}


def test_the_gains_in_the_readme_have_a_row_each():
    table = README_LINES[README_LINES.index(HEADER) + 2 :]
    assert [row.split(" | ")[0].removeprefix("| ") for row in table[: len(GAINS)]] == [*GAINS]
    assert table[len(GAINS)] == ""


@pytest.mark.parametrize("row", GAINS, ids=["-".join(place) for place in GAINS.values()])
def test_the_gains_in_the_readme_are_those_of_the_cells(row):
    """Over the draws of the tuning where there are any, else in the one of the table."""
    name, method, student, *against = GAINS[row]
    grid, in_table, again = _decided(name)
    claims = (one.claim for one in in_table + again if one.claim.method == method)
    claim = next(one for one in claims if (str(one).endswith(*against) if against else len(one.rivals) == 1))
    shown = {one.comparison.column: _gain(one, 10, " (one)") for one in in_table if one.claim == claim}
    shown |= {one.comparison.column: _gain(one, DRAWS.get(name, 8)) for one in again if one.claim == claim}
    datasets = HEADER.strip("| ").lower().split(" | ")[1:]
    cells = [shown.get(Column(dataset, grid.columns[0].regime, student), "-") for dataset in datasets]
    assert f"| {row} | {' | '.join(cells)} |" in README_LINES


@functools.cache
def _decided(name):
    """Reads the cells of a table and of its draws once for all rows."""
    grid = make_grid(cells_of(RESULTS / name), "soft_label")
    again = [decision for decision, _ in tuning_draws.decisions_of_draws(name, RESULTS)]
    return grid, decide(grid, CLAIMS[name]), again


def _gain(decision, pairs, one=""):
    if decision.comparison.column is None:
        return None
    (mean, deviation, *_), found = decision.comparison.difference.estimate, decision.comparison.difference.pairs
    assert found == pairs or decision.comparison.column.dataset == "pubmed"
    said = format_score(mean, metric_named("accuracy"), None if one else deviation, "+")
    return (said if decision.in_words == "undecided" else f"**{said}**") + one


def test_stored_teachers_are_those_of_their_cells():
    """Where a data set has both: a file that no cell names would train students of other teachers than the table's."""
    stored = {}
    for path in sorted((RESULTS / "teachers").glob("*/*.safetensors")):
        with safetensors.safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if name.startswith("variables/")]  # noqa: SIM118  # it is no mapping
            tree = unflatten_dict({name: file.get_tensor(name) for name in names}, sep="/")["variables"]
        stored.setdefault(path.parent.name, {})[path.name] = weights_digest(tree)
    cells = [cell for name in TABLES if (RESULTS / name).is_dir() for cell in cells_of(RESULTS / name)]
    for dataset, files in stored.items():
        of = [
            cell["weights"]
            for cell in cells
            if (cell["dataset"].split(":")[-1], cell["method"]) == (dataset, "teacher")
        ]
        assert not of or [name for name, digest in files.items() if digest not in itertools.chain(*of)] == []


@pytest.mark.parametrize(
    ("table", "dataset", "seeds", "text"),
    [
        ("main", "pubmed", 10, r"Pubmed's students, (\S+) times smaller, have (.+?) with .*?\(teachers (.+?)\)"),
        (
            "molhiv",
            "ogbg-molhiv",
            7,
            r"ogbg-molhiv, (\S+) times, have ROC-AUC (.+?) from .*?\(teachers (.+?), labels alone (.+?)\)",
        ),
    ],
    ids=["pubmed", "molhiv"],
)
def test_scores_of_one_data_set_in_the_readme_are_those_of_its_cells(table, dataset, seeds, text):
    said = re.search(text, README)
    assert said is not None
    cells = {cell["method"]: cell for cell in cells_of(RESULTS / table) if cell["dataset"] == dataset}
    methods = ["soft_label", "teacher"] if table == "main" else ["labels_soft_label", "teacher", "supervised"]
    assert said[1] == f"{cells[methods[0]]['compression']:.1f}"
    for score, method in zip(said.groups()[1:], methods, strict=True):
        scores = cells[method]["scores"]["test"]
        mean, deviation = estimate(scores)
        metric = metric_named(cells[method]["metric"])
        assert (score, len(scores)) == (format_score(mean, metric, deviation), seeds)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/report.md")), ids=lambda path: path.parent.name)
def test_paired_comparisons_of_a_stored_report_are_those_of_its_records(path):
    records = json.loads((path.parent / "results.json").read_text())["records"]
    methods = {record["method"] for record in records}
    rows = [row for base in ("supervised", "soft_label") if base in methods for row in comparisons(records, base)]
    assert f"## Paired comparisons\n\n{comparison_table(rows, metric_of(records))}\n" in path.read_text()


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_in_a_folder_of_results_is_of_its_cells(name):
    found = names_of_excerpts(TEXTS[name])
    assert len(found) == len(set(found)) == TEXTS[name].count("<!-- study ")
    assert found == [name] or (name == tuning_draws.FOLDER and set(found) <= set(TABLES))
