"""The pages of a listening test: a name, one result after the other, thanks; and the tables of what was answered."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape

from .listen import Results, Scale
from .page import STYLE, figures, table

_STYLE = (
    STYLE
    + """
main{max-width:44rem}
form{display:grid;gap:1rem;margin:1rem 0}
fieldset{border:1px solid var(--line);border-radius:.5rem;background:var(--card);padding:.75rem 1rem;margin:0;
min-width:0}
legend{font-weight:600;padding:0 .35rem}
.choices{display:grid;grid-template-columns:repeat(5,1fr);gap:.35rem}
.choices label{display:grid;justify-items:center;text-align:center;gap:.2rem;padding:.5rem .2rem;border-radius:.4rem;
cursor:pointer;font-size:.85rem;border:1px solid transparent;align-content:start}
.choices label:has(:checked){border-color:var(--mark)}
.choices b{font-size:1.1rem}input[type=radio]{width:1.3rem;height:1.3rem;accent-color:var(--mark)}
.slide{display:grid;grid-template-columns:1fr 5rem;gap:.75rem;align-items:center}
input[type=range]{width:100%;accent-color:var(--mark)}
input[type=text],input[type=number],input[type=password]{font:inherit;color:inherit;background:var(--back);
border:1px solid var(--line);border-radius:.4rem;padding:.5rem;min-width:0;width:100%}
.words{display:flex;justify-content:space-between;font-size:.8rem;color:var(--soft);grid-column:1}
button,.button{font:inherit;font-weight:600;color:#fff;background:#6929c4;border:0;border-radius:.5rem;
padding:.7rem 1.2rem;cursor:pointer;text-decoration:none;display:inline-block}
button:disabled{opacity:.45;cursor:default}
:focus-visible{outline:2px solid var(--mark);outline-offset:2px}
progress{width:100%;height:.6rem;accent-color:var(--mark)}
.row{display:flex;flex-wrap:wrap;gap:1rem;align-items:center;justify-content:space-between}
figure.playing{border-color:var(--mark);box-shadow:inset 0 0 0 1px var(--mark)}
figure.result{grid-column:1/-1}figcaption b{color:var(--text)}
a{color:var(--mark)}kbd{border:1px solid var(--line);border-radius:.25rem;padding:0 .3rem;font:inherit;font-size:.85em}
"""
)

_SCRIPT = """
"use strict";
(() => {
  const players = [...document.querySelectorAll("audio")], form = document.forms[0];
  const send = form.querySelector("button"), heard = new Set(), note = document.getElementById("note");
  const check = () => {
    const missing = players.filter((one) => !heard.has(one)).map((one) => one.dataset.name);
    send.disabled = missing.length > 0 || !form.checkValidity();
    note.textContent = missing.length ? `Still to be heard: ${missing.join(", ")}.`
      : send.disabled ? "Answer every question." : "";
  };
  for (const player of players) {
    if (form.dataset.again) heard.add(player);
    player.addEventListener("play", () => {
      for (const other of players) if (other !== player) other.pause();
      player.closest("figure").classList.add("playing");
    });
    const rest = () => player.closest("figure").classList.remove("playing");
    player.addEventListener("pause", rest);
    player.addEventListener("timeupdate", () => {
      if (player.currentTime > 0.5 * player.duration) { heard.add(player); check(); }
    });
    player.addEventListener("ended", () => { heard.add(player); rest(); check(); });
  }
  for (const slide of form.querySelectorAll("input[type=range]")) {
    const number = form.elements[slide.dataset.of];
    slide.hidden = false;
    slide.addEventListener("input", () => { number.value = slide.value; check(); });
    number.addEventListener("input", () => { if (number.validity.valid) slide.value = number.value; });
  }
  form.addEventListener("input", check);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === "number") return;
    const player = players.find((one) => one.dataset.key === event.key);
    if (!player) return;
    if (player.paused) { player.currentTime = 0; player.play(); } else player.pause();
    event.preventDefault();
  });
  check();
})();
"""


def policy(script: str = "") -> str:
    """What a page may load: itself, its sounds, and the one script."""
    text = "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"
    if script:
        text += f"; script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
    return text


def start_page(title: str, results: int, scales: Sequence[Scale], trouble: str = "") -> str:
    """Where a listener begins."""
    asked = ", ".join(f"{scale.name} ({scale.low} to {scale.high})" for scale in scales)
    minutes = max(1, round(results * (0.4 + 0.15 * len(scales))))
    return _page(
        title,
        [
            f"<h1>{escape(title)}</h1>",
            f"<p>You will hear {results} results, each beside the two sounds it was made from: the <b>content</b> "
            "gives what is played, the <b>style</b> how it sounds. You do not learn which system made which result, "
            "and everybody hears them in another order.</p>",
            f"<p>For each you are asked for {escape(asked)}. Play every sound as often as you like; headphones help. "
            f"It takes about {minutes} minutes. Every answer is kept as you give it: you can stop and come back.</p>",
            '<form method="post" action="/start"><label for="name">Your name, or any word that is yours</label>'
            '<input id="name" name="name" type="text" maxlength="60" required autofocus autocomplete="off">'
            f'{_trouble(trouble)}<div class="row"><button>Begin</button></div></form>',
        ],
    )


def item_page(
    title: str,
    place: int,
    at: int,
    done: int,
    count: int,
    scales: Sequence[Scale],
    sounds: Mapping[str, str],
    given: Mapping[str, int] | None = None,
    back: int | None = None,
    trouble: str = "",
) -> str:
    """One result to judge. place: its address; sounds: addresses of content, style and result.

    at: its number among those that are heard; done, count: results judged and in all. given: what was answered
    before. back: the place before.
    """
    players = "".join(
        f'<figure class="{name}"><figcaption><b>{name.capitalize()}</b> <kbd>{key}</kbd></figcaption>'
        f'<audio controls preload="auto" data-name="{name}" data-key="{key}" aria-label="{name}" '
        f'src="{escape(sounds[name])}"></audio></figure>'
        for key, name in enumerate(("content", "style", "result"), 1)
    )
    questions = "".join(_question(scale, (given or {}).get(scale.name)) for scale in scales)
    again = ' data-again="1"' if given else ""
    behind = f'<a href="/item/{back}">Back to the one before</a>' if back is not None else "<span></span>"
    return _page(
        title,
        [
            f'<p class="row soft"><span>Result {at} of {count}</span>'
            f"<span>{done} answered</span></p>"
            f'<progress value="{done}" max="{count}" aria-label="progress"></progress>',
            f'<div class="sounds">{players}</div>',
            f'<form method="post" action="/item/{place}"{again}>{questions}{_trouble(trouble)}'
            f'<p id="note" class="soft" aria-live="polite"></p>'
            f'<div class="row">{behind}<button>Next</button></div></form>',
        ],
        _SCRIPT,
    )


def done_page(title: str, count: int) -> str:
    """The end, for a listener."""
    return _page(
        title,
        [
            "<h1>Thank you</h1>",
            f'<p>All {count} results are answered, and your answers are kept.</p><p><a href="/item/1">Look through '
            "them again</a></p>"
            '<form method="post" action="/leave"><div class="row"><button>Next listener</button></div></form>',
        ],
    )


def refusal_page(title: str, text: str) -> str:
    """What could not be done."""
    return _page(title, ["<h1>That did not work</h1>", f'<p>{escape(text)}</p><p><a href="/">Go on</a></p>'])


def token_page(title: str, trouble: str = "") -> str:
    """Where a listener on the network gives the word that they were told."""
    return _page(
        title,
        [
            f"<h1>{escape(title)}</h1>",
            '<form method="get" action="/"><label for="token">The word that you were given</label>'
            '<input id="token" name="token" type="password" required autofocus>'
            f'{_trouble(trouble)}<div class="row"><button>Enter</button></div></form>',
        ],
    )


def results_page(title: str, found: Results, scales: Sequence[Scale], csv: str = "") -> str:
    """Means and confidence intervals in the layout of the published tables; csv: address of all answers."""
    people = f"{found.listeners} listener" + ("s" if found.listeners != 1 else "")
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{people}, {found.answers} answers. Mean over listeners, each counted once, ± half of the '
        "95 % confidence interval (Student's t); no interval for less than two listeners.</p>",
        "<h2>By system</h2>",
        table(
            ["system", *(f"{scale.name}, {scale.low} to {scale.high}" for scale in scales), "answers"],
            [
                figures(
                    [
                        system,
                        *(means[scale.name].text for scale in scales),
                        str(max(means[scale.name].answers for scale in scales)),
                    ]
                )
                for system, means in found.by_system.items()
            ],
            "figures",
        ),
    ]
    for scale in scales:
        parts += [
            f"<h2>By pair: {escape(scale.name)}, {scale.low} to {scale.high}</h2>",
            table(
                ["content and style", *found.by_system],
                [
                    figures([pair, *(mean.text for mean in means.values())])
                    for pair, means in found.by_pair[scale.name].items()
                ],
                "figures",
            ),
        ]
    if csv:
        parts.append(f'<p><a href="{escape(csv)}">All answers as CSV</a></p>')
    return _page(title, parts)


def _question(scale: Scale, given: int | None) -> str:
    legend = f"<legend>{scale.name.capitalize()}</legend><p>{escape(scale.question)}</p>"
    if scale.high - scale.low < 10:
        choices = "".join(
            f'<label><input type="radio" name="{scale.name}" value="{value}" required'
            f"{' checked' if value == given else ''}><b>{value}</b>{escape(word)}</label>"
            for value, word in zip(range(scale.low, scale.high + 1), scale.words, strict=True)
        )
        return f'<fieldset>{legend}<div class="choices">{choices}</div></fieldset>'
    value = "" if given is None else f' value="{given}"'
    middle = (scale.low + scale.high) // 2 if given is None else given
    words = "".join(f"<span>{escape(word)}</span>" for word in scale.words)
    return (
        f'<fieldset>{legend}<div class="slide">'
        f'<input type="range" min="{scale.low}" max="{scale.high}" value="{middle}" data-of="{scale.name}" hidden '
        f'aria-label="{scale.name}">'
        f'<input type="number" name="{scale.name}" min="{scale.low}" max="{scale.high}" required inputmode="numeric" '
        f'aria-label="{scale.name}, {scale.low} to {scale.high}"{value}>'
        f'<div class="words">{words}</div></div></fieldset>'
    )


def _trouble(text: str) -> str:
    return f'<p class="bad" role="alert">{escape(text)}</p>' if text else ""


def _page(title: str, parts: Sequence[str], script: str = "") -> str:
    code = f"<script>{script}</script>\n" if script else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(script)}">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + f"\n</main>\n{code}</body>\n</html>\n"
    )
