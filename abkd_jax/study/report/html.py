"""Report as one HTML file: pictures inside, no scripts, for phones and screens, light and dark."""

import base64
import html
import re
from collections.abc import Sequence

from abkd_jax.study.report.blocks import Block, Entry, Folded, Heading, Items, Picture, Table, Text

__all__ = ["as_html"]

OPEN_ROWS = 40  # of a table that is shown at once
LONG = 18  # characters from which an entry of text may break

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
.text { text-align: left } .long { white-space: normal; min-width: 9rem; max-width: min(24rem, 60vw) }
td:first-child { position: sticky; left: 0; background: Canvas }
th:first-child { position: sticky; left: 0 }
.better { font-weight: bold; color: var(--good) } .worse { color: var(--bad) }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem } figure { margin: 0; max-width: 27rem }
img { max-width: 100%; height: auto; background: white; border-radius: 4px } figcaption { font-size: .85rem }
nav { font-size: .9rem } nav a { margin-right: 1rem; display: inline-block }
summary { cursor: pointer; font-weight: bold; margin: 1rem 0 }
"""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head><body>
<h1>{title}</h1>
<nav>{contents}</nav>
{body}
</body></html>
"""


def as_html(title: str, blocks: Sequence[Block]) -> str:
    """Returns the report as a page."""
    headings = [block.text for block in blocks if isinstance(block, Heading)]
    contents = " ".join(f'<a href="#{_anchor(text)}">{_text(text)}</a>' for text in headings)
    return PAGE.format(title=_text(title), style=STYLE, contents=contents, body=_body(blocks))


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
            return f'<h2 id="{_anchor(text)}">{_text(text)}</h2>'
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
    """Returns a table with its caption outside, so that it does not scroll; long ones are closed at first."""
    text = [number < table.texts for number in range(len(table.headers))]
    heads = zip(table.headers, text, strict=True)
    head = "".join(f"<th{_class(header, its)}>{_breakable(header)}</th>" for header, its in heads)
    rows = "\n".join("<tr>" + "".join(map(_entry, row, text)) + "</tr>" for row in table.rows)
    body = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>'
    if len(table.rows) > OPEN_ROWS:
        return f"<details><summary>{_text(table.caption)} ({len(table.rows)} rows)</summary>{body}</details>"
    return f'<p class="caption">{_text(table.caption)}</p>{body}'


def _entry(entry: Entry, text: bool) -> str:
    said = _breakable(entry.text)
    if entry.mark == "open":
        return f"<td{_class(entry.text, text)}>{said}</td>"
    return f'<td class="{entry.mark}">{said}{" ↓" if entry.mark == "worse" else ""}</td>'


def _class(said: str, text: bool) -> str:
    if not text:
        return ""
    return ' class="text long"' if len(said) > LONG else ' class="text"'


def _breakable(text: str) -> str:
    """Returns the text of an entry, names in it with places to break that are not within a word."""
    return re.sub(r"([_/])", r"\1<wbr>", _text(text))


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _text(text: str) -> str:
    return html.escape(text.replace("+-", "±"))
