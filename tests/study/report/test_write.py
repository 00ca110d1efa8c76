import base64
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
import study_samples as samples
import tyro

from abkd_jax.study.report import write
from abkd_jax.study.report.blocks import Entry, Folded, Picture, Table, picture_file, plain
from abkd_jax.study.report.html import as_html
from abkd_jax.study.report.latex import as_latex
from abkd_jax.study.report.markdown import as_markdown
from abkd_jax.types import InputError
from experiments import report as command

VOID = {"meta", "img", "br", "wbr"}


class Page(HTMLParser):
    """Elements that are open at the end, and the sources of all images."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.tags = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.images += [value for key, value in attrs if tag == "img" and key == "src"]
        self.open += [tag] if tag not in VOID else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr(write, "can_draw", lambda: False)


def report(folder, made, **options):
    path = write.write_report(made, folder, **options)
    return path.read_text(), (folder / "report.md").read_text(), (folder / "tables.tex").read_text()


def test_numbers_of_all_formats_are_those_of_the_cells(tmp_path, no_figures):
    made = samples.cells()
    html, markdown, latex = report(tmp_path, made)
    for cell in made:
        test = cell["scores"]["test"]
        mean, std = f"{100 * np.mean(test):.2f}", f"{100 * np.std(test, ddof=1):.2f}"
        name = cell["method"].replace("_", "\\_")
        assert f"{mean} ± {std}" in html
        assert re.search(rf"^\| {cell['method']} .*{mean} \+- {std}", markdown, re.MULTILINE)
        assert re.search(rf"^{re.escape(name)} &.*{mean} \$\\pm\$ {std}", latex, re.MULTILINE)
    counts = [html.count('<td class="better">'), markdown.count("**") // 2, latex.count(r"\textbf")]
    assert counts == [5, 5, 5]  # abkd_x: two data sets in two tables, and all data sets
    assert "film &amp; co" in html
    assert r"film \& co" in latex


def test_pictures_of_names_that_differ_in_signs_alone_have_files_of_their_own(tmp_path, monkeypatch):
    pictures = [Picture(picture_file("scores", name), name, name.encode()) for name in ("a/b", "a-b", "a b")]
    monkeypatch.setattr(write, "_score_figures", lambda grid: [pictures[0], Folded("more", pictures[1:])])
    _, markdown, _ = report(tmp_path, samples.cells(seeds=3, datasets=("cora",)))
    links = [markdown.partition(f"![{picture.caption}](")[2].partition(")")[0] for picture in pictures]
    assert [(tmp_path / link).read_bytes() for link in links] == [b"a/b", b"a-b", b"a b"]


def test_the_first_paragraphs_are_made_from_the_numbers(tmp_path, no_figures):
    made = samples.cells()
    _, markdown, _ = report(tmp_path, made)
    first = "\n".join(markdown.split("\n\n")[1:3])
    of = {(c["dataset"], c["method"]): np.array(c["scores"]["test"]) for c in made}
    best, gap = of["cora", "abkd_x"], of["cora", "abkd_x"] - of["cora", "teacher"]
    assert f"On cora the best student of 4 is abkd_x: {100 * best.mean():.2f} %" in first
    assert f"{100 * gap.mean():+.2f} to the teacher (95 % interval" in first
    assert "Of 6 comparisons with soft_label, 2 are significantly better" in first
    assert "2 are not significant (permutation test, Holm p < 0.05)" in first


def test_a_page_with_every_figure(tmp_path):
    html, markdown, _ = report(tmp_path, samples.cells())
    page = Page(html)
    assert page.open == []
    assert not page.tags & {"script", "link"}
    prefix = "data:image/svg+xml;base64,"
    names = re.findall(r"\]\((.+?\.svg)\)", markdown)
    assert {name.partition("_")[0] for name in names} == {"ranks", "scores", "costs", "curves", "attention", "tuning"}
    assert len(names) == len(set(names)) == len(page.images)
    for name, image in zip(names, page.images, strict=True):
        svg = base64.b64decode(image.removeprefix(prefix))
        assert svg == (tmp_path / name).read_bytes()
        assert ElementTree.fromstring(svg).tag.endswith("svg")


def test_every_table_and_figure_is_under_a_heading_and_scrolls_alone(tmp_path, no_figures):
    html, _, _ = report(tmp_path, samples.cells())
    parts = re.split(r'<h2 id="([^"]+)">', html)
    assert "<table" not in parts[0]
    assert re.findall(r'<a href="#([^"]+)">', parts[0]) == parts[1::2]
    assert all(re.search(r"<(table|p|ul|details|figure)\b", body.split("</h2>")[1]) for body in parts[2::2])
    assert html.count("<table>") == html.count('<div class="scroll"><table>') > 5
    assert not re.search(r"<t[hd][^>]*></t[hd]>|<summary></summary>|<figcaption></figcaption>", html)


def test_long_tables_are_closed_at_first_and_names_break_between_words():
    short, long = (Table("c", ("m", "n"), [plain("soft_label", "1")] * rows) for rows in (40, 41))
    assert "<details><summary>c (41 rows)</summary>" in as_html("t", [long])
    assert "<details>" not in as_html("t", [short])
    assert '<td class="text">soft_<wbr>label</td><td>1</td>' in as_html("t", [short])
    assert '<td class="text long">' in as_html("t", [Table("c", ("m",), [plain("a sentence of a few words")])])


def test_what_is_missing_is_one_line_a_data_set(tmp_path, no_figures):
    made = [c for c in samples.cells() if (c["dataset"], c["method"]) not in {("cora", "gcrd"), ("cora", "fitnet")}]
    _, markdown, _ = report(tmp_path, made)
    assert "## What is missing\n\n- cora: no cell of gcrd, fitnet.\n\n## " in markdown


def test_methods_that_trained_the_same_students_are_named(tmp_path, no_figures):
    made = [
        cell | {"weights": [f"{cell['dataset']} {cell['method']} {seed}" for seed in range(8)]}
        for cell in samples.cells()
    ]
    at = {(cell["dataset"], cell["method"]): number for number, cell in enumerate(made)}
    made[at["cora", "gcrd"]]["weights"] = made[at["cora", "fitnet"]]["weights"]
    _, markdown, _ = report(tmp_path, made)
    assert "## What is missing\n\n- cora: gcrd, fitnet are the same students, weight for weight.\n\n## " in markdown


def test_programs_are_counted(tmp_path, no_figures):
    made = samples.cells()
    made[1]["provenance"] = made[1]["provenance"] | {"commit": "4567", "date": "2026-02-01T08:00"}
    _, markdown, _ = report(tmp_path, made)
    rows = [[entry.strip() for entry in line.split("|")[1:-1]] for line in markdown.splitlines() if "2 cores" in line]
    assert ["0123", "cora, film & co", "2 cores", "jax 1", "2026-01-01", "9"] in rows
    assert ["4567", "cora", "2 cores", "jax 1", "2026-02-01", "1"] in rows


def test_models_are_named_once(tmp_path, no_figures):
    made = samples.cells()
    sizes = {"teacher": {"name": "gat", "layers": 2}, "soft_label": {"name": "gcn", "layers": 1}}
    made = [cell | ({"model": sizes[cell["method"]]} if cell["method"] in sizes else {}) for cell in made]
    _, markdown, _ = report(tmp_path, made)
    for model, options in (("teacher", "name gat, layers 2"), ("student 4x4", "name gcn, layers 1")):
        (line,) = (line for line in markdown.splitlines() if options in line)
        assert [entry.strip() for entry in line.split("|")[1:-1]] == [model, "cora, film & co", options]
    assert "Models" not in report(tmp_path, samples.cells())[1]


def test_cells_that_hold_the_least(tmp_path):
    """No optional entry, one seed, a missing cell, no teacher, a score that is not defined."""
    kept = ("table", "dataset", "regime", "student", "method", "metric", "seeds", "splits", "scores")
    made = [{key: cell[key] for key in kept} for cell in samples.cells(seeds=1)]
    made = [c for c in made if (c["dataset"], c["method"]) not in {("cora", "gcrd"), ("cora", "teacher")}]
    made[0]["scores"]["test"] = [None]
    html, markdown, _ = report(tmp_path, made)
    assert Page(html).open == []
    assert "No comparison with soft_label has the three pairs that a test needs." in markdown
    for line in ("cora: no cell of gcrd.", "cora: no cell of the teachers.", "cora: one seed, so no deviation"):
        assert f"- {line}" in markdown
    assert "1 of 1 seeds of soft_label have no test score (0 diverged)" in markdown


def test_few_pairs_are_said_to_allow_no_significance(tmp_path, no_figures):
    _, markdown, _ = report(tmp_path, samples.cells(seeds=5))
    assert "none could be: the smallest corrected p that they allow is 0.38." in markdown  # 6 * 2 / 2^5
    _, markdown, _ = report(tmp_path, samples.cells(seeds=5), test="t")
    assert "none could be" not in markdown


def test_further_test_scores_have_their_own_tables(tmp_path, no_figures):
    made = samples.cells(datasets=("cora",))
    for cell in made:
        cell["scores"] |= {"test: feature noise 0.1": [value - 0.125 for value in cell["scores"]["test"]]}
    _, markdown, _ = report(tmp_path, made)
    section = markdown.split("## Test: feature noise 0.1")[1]
    assert f"{100 * np.mean(made[1]['scores']['test']) - 12.5:.2f} +- " in section


def test_errors_are_shown_so_that_lower_is_better(tmp_path, no_figures):
    made = samples.cells(datasets=("cora",))
    for cell in made:
        cell["metric"], cell["scores"] = "-RMSE", {"test": [value - 2.0 for value in cell["scores"]["test"]]}
    _, markdown, _ = report(tmp_path, made)
    row = next(line for line in markdown.splitlines() if line.startswith("| abkd_x"))
    assert f"**{2.0 - np.mean(samples.cells(datasets=('cora',))[2]['scores']['test']):.4g} +-" in row
    low, high = re.search(r"95 % interval ([+-]\S+) to ([+-][\d.]+)", markdown).groups()
    assert 0.0 < float(low) < float(high)


def test_marks_and_escapes():
    table = Table("a_b", ("m", "x|y"), [(Entry("<i>", "better"), Entry("5 %", "worse")), plain("q", "1 +- 2")], "t")
    assert '<td class="better">&lt;i&gt;</td><td class="worse">5 % ↓</td>' in as_html("t", [table])
    assert re.search(r"\| \*\*<i>\*\* +\| +5 % ↓ \|", as_markdown("t", [table]))
    assert "x\\|y" in as_markdown("t", [table])
    assert r"\textbf{<i>} & 5 \% $\downarrow$ \\" in as_latex([table])
    assert r"q & 1 $\pm$ 2 \\" in as_latex([table])
    assert "tabular" not in as_latex([table._replace(latex="")])


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, no_figures):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the report cannot be written"):
        write.write_report(samples.cells(), tmp_path / "file" / "out")


def test_the_command(tmp_path, no_figures, capsys):
    folder = samples.write(tmp_path / "main", samples.cells(seeds=3, datasets=("cora",)))
    arguments = [str(folder), "--out", str(tmp_path / "out")]
    command.main(tyro.cli(command.Args, args=arguments))
    assert capsys.readouterr().out == f"{tmp_path / 'out' / 'report.html'}\n"
    assert (tmp_path / "out" / "tables.tex").exists()
    with pytest.raises(SystemExit, match=r"^experiments.report: report: main: expected the baseline 'best' [^\n]*$"):
        command.main(tyro.cli(command.Args, args=[*arguments, "--baseline", "best"]))
