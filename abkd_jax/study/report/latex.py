r"""Tables of a report as LaTeX, for `\input` in a paper that loads the package booktabs."""

import re
from collections.abc import Sequence

from abkd_jax.study.report.blocks import Block, Entry, Table

__all__ = ["as_latex", "escape"]

HEAD = "% \\usepackage{booktabs}. Bold: significantly better than the baseline; arrow: significantly worse."
SPECIAL = {char: f"\\{char}" for char in "&%$#_{}"}
SPECIAL |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def as_latex(blocks: Sequence[Block]) -> str:
    """Returns the tables that have a label."""
    return "\n\n".join([HEAD, *(_table(block) for block in blocks if isinstance(block, Table) and block.latex)]) + "\n"


def escape(text: str) -> str:
    r"""Returns text for LaTeX.

    Examples:
        >>> print(escape("soft_label 85.26 +- 0.54 %"))
        soft\_label 85.26 $\pm$ 0.54 \%
    """
    return r" $\pm$ ".join("".join(SPECIAL.get(char, char) for char in part) for part in text.split(" +- "))


def _table(table: Table) -> str:
    label = re.sub(r"[^a-z0-9]+", "-", table.latex.lower()).strip("-")
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(table.caption)}.}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{'l' * table.texts}{'r' * (len(table.headers) - table.texts)}}}",
        r"\toprule",
        _row([escape(header) for header in table.headers]),
        r"\midrule",
        *(_row([_entry(entry) for entry in row]) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _row(texts: Sequence[str]) -> str:
    return " & ".join(texts) + r" \\"


def _entry(entry: Entry) -> str:
    text = escape(entry.text)
    return {"open": text, "better": rf"\textbf{{{text}}}", "worse": rf"{text} $\downarrow$"}[entry.mark]
