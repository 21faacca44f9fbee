"""A page for a browser that is one file: it loads nothing, and runs no script but its own."""

import base64
import hashlib
import io
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
import numpy.typing as npt
import soundfile

Float32 = npt.NDArray[np.float32]

STYLE = """
:root{color-scheme:light dark;--back:#fbfaf8;--card:#fff;--text:#1d1b19;--soft:#6a645d;--line:#e3ded7;--mark:#8a3ffc;
--good:#19753a;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--back:#151413;--card:#1f1d1c;--text:#ece8e3;--soft:#a49d95;--line:#37332f;
--mark:#be95ff;--good:#6fd08c;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{max-width:64rem;margin:0 auto;padding:1.25rem 1rem 4rem}
h1{font-size:1.7rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.2rem;margin:2.5rem 0 .75rem;border-bottom:1px solid var(--line);padding-bottom:.25rem}
h3{font-size:1rem;margin:1.5rem 0 .5rem}
p{margin:.4rem 0}.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}
.wide{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.5rem}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
tr:last-child>*{border-bottom:0}thead th{color:var(--soft);font-weight:500}
tbody th{font-weight:500}.figures td,.figures thead th{text-align:right}.figures td{white-space:nowrap}
.figures thead th:first-child{text-align:left}
.sounds,.curves{display:grid;gap:.75rem;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr))}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.6rem}
figcaption{font-size:.85rem;color:var(--soft);margin-bottom:.3rem}
audio{width:100%;display:block}img{width:100%;height:auto;display:block;border-radius:.3rem}
.picture{margin:.75rem 0}svg{width:100%;height:auto;display:block}
svg path{fill:none;stroke:var(--mark);stroke-width:1.5;stroke-linejoin:round;vector-effect:non-scaling-stroke}
svg line{stroke:var(--line)}svg text{fill:var(--soft);font-size:9px}
"""


def page(heading: str, parts: Sequence[str], script: str = "", style: str = "") -> str:
    """A whole page with this title. parts: HTML, one after the other; script: JavaScript, the only one that may run.

    style: what comes behind the common one.
    """
    policy = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
    code = ""
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        policy += f"; script-src 'sha256-{digest}'"
        code = f"<script>{script}</script>\n"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{escape(heading)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + f"\n</main>\n{code}</body>\n</html>\n"
    )


def table(head: Sequence[str], rows: Sequence[str], kind: str = "") -> str:
    """A table from rows in HTML; head: plain text, or none. kind: class of its style ("figures")."""
    top = f"<thead><tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr></thead>" if head else ""
    mark = f' class="{kind}"' if kind else ""
    return f'<div class="wide"><table{mark}>{top}<tbody>{"".join(rows)}</tbody></table></div>'


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """A table of names and what they stand for, both plain text."""
    return table([], [f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in rows])


def figures(cells: Sequence[str]) -> str:
    """A row of a table: its name, then its figures, all plain text."""
    return f"<tr><th>{escape(cells[0])}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells[1:])}</tr>"


def data_url(kind: str, data: bytes) -> str:
    """Bytes of a media type as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def sound_url(audio: Float32, sample_rate: int) -> str:
    """Mono audio [samples], within -1 to 1, as an address that holds it: FLAC, 16 bits."""
    file = io.BytesIO()
    soundfile.write(file, audio, sample_rate, format="FLAC", subtype="PCM_16")
    return data_url("audio/flac", file.getvalue())
