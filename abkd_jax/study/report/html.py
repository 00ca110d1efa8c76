"""Report as one HTML file: pictures inside, no scripts, for phones and screens, light and dark."""

import base64
import html
from collections.abc import Sequence

from abkd_jax.study.report.blocks import Block, Entry, Folded, Heading, Items, Picture, Table, Text

__all__ = ["as_html"]

STYLE = """
:root { color-scheme: light dark; --line: #ccc; --good: #0a6b3d; --bad: #a03000; --band: #f3f3f3 }
@media (prefers-color-scheme: dark) { :root { --line: #555; --good: #6fd3a0; --bad: #ff9d73; --band: #262626 } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; border-bottom: 1px solid var(--line); margin-top: 2rem }
.scroll { overflow-x: auto; margin: .3rem 0 1rem }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; overflow-wrap: normal }
.caption { font-size: .85rem; margin: 1rem 0 0 }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) }
th { background: var(--band); white-space: normal; vertical-align: bottom }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: Canvas }
td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 6rem; max-width: 40vw }
.better { font-weight: bold; color: var(--good) } .worse { color: var(--bad) }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem } figure { margin: 0; flex: 1 1 20rem; max-width: 40rem }
img { width: 100%; height: auto; background: white; border-radius: 4px } figcaption { font-size: .85rem }
summary { cursor: pointer; font-weight: bold; margin: 1rem 0 }
"""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


def as_html(title: str, blocks: Sequence[Block]) -> str:
    """Returns the report as a page."""
    return PAGE.format(title=_text(title), style=STYLE, body=_body(blocks))


def _body(blocks: Sequence[Block]) -> str:
    """Returns the blocks; pictures in a row share one, where the page is wide enough."""
    lines: list[str] = []
    for number, block in enumerate(blocks):
        picture = isinstance(block, Picture)
        if picture and not (number and isinstance(blocks[number - 1], Picture)):
            lines.append('<div class="pictures">')
        lines.append(_block(block))
        if picture and not (number + 1 < len(blocks) and isinstance(blocks[number + 1], Picture)):
            lines.append("</div>")
    return "\n".join(lines)


def _block(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{_text(text)}</h2>"
        case Text(text):
            return f"<p>{_text(text)}</p>"
        case Items(lines):
            return "<ul>" + "".join(f"<li>{_text(line)}</li>" for line in lines) + "</ul>"
        case Table():
            return _table(block)
        case Folded(title, blocks):
            return f"<details><summary>{_text(title)}</summary>\n{_body(blocks)}\n</details>"
        case Picture(_, caption, svg):
            source = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
            said = _text(caption)
            return f'<figure><img alt="{said}" src="{source}"><figcaption>{said}</figcaption></figure>'


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(header)}</th>" for header in table.headers)
    rows = "\n".join("<tr>" + "".join(map(_entry, row)) + "</tr>" for row in table.rows)
    caption = f'<p class="caption">{_text(table.caption)}</p>'  # outside, so it does not scroll
    return f'{caption}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>'


def _entry(entry: Entry) -> str:
    text = _text(entry.text)
    if entry.mark == "open":
        return f"<td>{text}</td>"
    return f'<td class="{entry.mark}">{text}{" ↓" if entry.mark == "worse" else ""}</td>'


def _text(text: str) -> str:
    return html.escape(text.replace("+-", "±"))
