"""Report as Markdown, its pictures beside it."""

from collections.abc import Sequence

import tabulate

from abkd_jax.study.report.blocks import Block, Entry, Folded, Heading, Items, Picture, Table, Text

__all__ = ["as_markdown", "block_text"]


def as_markdown(title: str, blocks: Sequence[Block]) -> str:
    """Returns the report as Markdown; significantly better entries are bold, worse ones have an arrow."""
    return "\n\n".join([f"# {title}", *map(block_text, blocks)]) + "\n"


def block_text(block: Block) -> str:
    """Returns one part of a report as Markdown."""
    match block:
        case Heading(text):
            return f"## {text}"
        case Text(text):
            return text
        case Items(lines):
            return "\n".join(f"- {line}" for line in lines)
        case Table():
            return f"{block.caption}:\n\n{_table(block)}"
        case Folded(title, blocks):
            return "\n\n".join([f"### {title}", *map(block_text, blocks)])
        case Picture(name, caption):
            return f"![{caption}]({name})"


def _table(table: Table) -> str:
    texts = [[_entry(entry) for entry in row] for row in table.rows]
    align = (*["left"] * table.texts, *["right"] * (len(table.headers) - table.texts)) if texts else None
    names = [header.replace("|", "\\|") for header in table.headers]
    return tabulate.tabulate(texts, names, tablefmt="github", disable_numparse=True, colalign=align)


def _entry(entry: Entry) -> str:
    text = entry.text.replace("|", "\\|")
    return {"open": text, "better": f"**{text}**", "worse": f"{text} ↓"}[entry.mark]
