"""The page in which captures are compared: keys switch between them without a gap, names can be hidden."""

import importlib.util
import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from ... import DuendeError
from ...presets.format import write_atomically
from ..page import data_url, figures, page, sound_url, table
from ..pictures import spectrogram_figure
from .audition import Take
from .described import Described
from .heard import RATE

STYLE = """
[hidden]{display:none!important}
#transport{display:flex;flex-wrap:wrap;gap:.75rem;align-items:center;margin:1rem 0}
#place{flex:1;min-width:8rem;accent-color:var(--mark)}#time{min-width:6.5rem;font-variant-numeric:tabular-nums}
button{font:inherit;color:inherit;background:var(--card);border:1px solid var(--line);border-radius:.5rem;
padding:.45rem .9rem;cursor:pointer}
button:focus-visible,input:focus-visible{outline:2px solid var(--mark);outline-offset:2px}
button[aria-pressed=true]{border-color:var(--mark);box-shadow:inset 0 0 0 1px var(--mark)}
#takes{list-style:none;padding:0;display:grid;gap:.5rem;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr))}
#takes button{width:100%;text-align:left;overflow-wrap:anywhere}
.wide th,.wide td{white-space:nowrap}
.blind h2,.blind .wide,.blind .picture,.blind ul{display:none}
"""

SCRIPT = """
"use strict";
(() => {
  const FADE = 0.01;
  const byId = (id) => document.getElementById(id);
  const list = byId("takes"), play = byId("play"), place = byId("place"), time = byId("time"), blind = byId("blind");
  const takes = [...list.children].map((item) => ({
    item, button: item.querySelector("button"), label: item.querySelector("span"),
    audio: item.querySelector("audio"), name: item.querySelector("button").dataset.name,
  }));
  let order = takes.slice(), chosen = takes[0], context = null, began = 0, at = 0, length = 0, sources = [];

  const bytes = (url) => Uint8Array.from(atob(url.slice(url.indexOf(",") + 1)), (c) => c.charCodeAt(0)).buffer;
  const now = () => (sources.length ? (context.currentTime - began) % length : at);
  const clock = (s) => `${Math.floor(s / 60)}:${(s % 60).toFixed(1).padStart(4, "0")}`;

  function show() {
    order.forEach((take, number) => {
      const name = blind.checked ? String.fromCharCode(65 + number) : take.name;
      take.button.textContent = `${number}  ${name}`;
      take.button.setAttribute("aria-pressed", String(take === chosen));
    });
    play.textContent = sources.length ? "Stop" : "Play";
  }
  function choose(take) {
    if (!take) return;
    chosen = take;
    for (const one of takes) {
      if (!one.gain) continue;
      const gain = one.gain.gain, t = context.currentTime;
      gain.cancelScheduledValues(t);
      gain.setValueAtTime(gain.value, t);
      gain.linearRampToValueAtTime(one === chosen ? 1 : 0, t + FADE);
    }
    show();
  }
  async function ready() {
    if (context) return;
    context = new AudioContext();
    await Promise.all(takes.map(async (take) => {
      take.buffer = await context.decodeAudioData(bytes(take.audio.src));
      take.gain = context.createGain();
      take.gain.gain.value = take === chosen ? 1 : 0;
      take.gain.connect(context.destination);
    }));
    length = Math.min(...takes.map((take) => take.buffer.duration));
  }
  async function start() {
    await ready();
    await context.resume();
    halt();
    const t = context.currentTime + 0.02;
    sources = takes.map((take) => {
      const source = context.createBufferSource();
      source.buffer = take.buffer;
      source.loop = true;
      source.loopEnd = length;
      source.connect(take.gain);
      source.start(t, at);
      return source;
    });
    began = t - at;
    show();
  }
  function halt() {
    for (const source of sources) source.stop();
    sources = [];
  }
  function stop() {
    at = Math.max(0, now());
    halt();
    show();
  }
  function go(to) {
    const on = sources.length > 0;
    at = ((to % (length || 1)) + (length || 1)) % (length || 1);
    if (on) start();
    tick();
  }
  function tick() {
    const whole = length || takes[0].audio.duration || 0, t = Math.max(0, now());
    if (whole) place.value = t / whole;
    time.textContent = `${clock(t)} / ${clock(whole)}`;
  }
  function shuffle() {
    order = takes.slice();
    if (blind.checked) {
      for (let i = order.length - 1; i > 0; i--) {
        const j = Math.floor(Math.random() * (i + 1));
        [order[i], order[j]] = [order[j], order[i]];
      }
    }
    order.forEach((take) => list.append(take.item));
    document.body.classList.toggle("blind", blind.checked);
    choose(order[0]);
  }

  play.addEventListener("click", () => (sources.length ? stop() : start()));
  place.addEventListener("input", async () => {
    const share = Number(place.value);
    await ready();
    go(share * length);
  });
  blind.addEventListener("change", shuffle);
  for (const take of takes) take.button.addEventListener("click", () => choose(take));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && [play, blind].includes(event.target)) return;
    if (event.key.startsWith("Arrow") && event.target === place) return;
    if (/^[0-9]$/.test(event.key)) choose(order[Number(event.key)]);
    else if (event.key === " ") sources.length ? stop() : start();
    else if (event.key === "ArrowLeft") go(now() - 2);
    else if (event.key === "ArrowRight") go(now() + 2);
    else if (event.key === "b") { blind.checked = !blind.checked; shuffle(); }
    else return;
    event.preventDefault();
  });
  for (const take of takes) {
    take.audio.hidden = take.label.hidden = true;
    take.button.hidden = false;
  }
  byId("transport").hidden = false;
  setInterval(tick, 100);
  show();
  tick();
})();
"""


def check_page(target: Path, *, force: bool = False) -> None:
    """DuendeError where the page cannot be written under that name, or where another file would be lost."""
    if target.suffix.lower() not in (".html", ".htm"):
        raise DuendeError(f"{target}: the page's name must end in .html")
    if target.exists() and not force:
        raise DuendeError(f"there is a file {target} already: choose another name, or replace it with --force")


def write_audition(target: Path, title: str, takes: Sequence[Take], described: Mapping[str, Described]) -> None:
    """Write the page. described: what the captures of the takes say of themselves, by the take's name.

    The file holds sounds (FLAC, 16 bits) and, where matplotlib is installed, spectrograms in itself, and loads
    nothing. DuendeError where it cannot be written.
    """
    write_atomically(target, render_page(title, takes, described).encode("utf-8"))


def render_page(title: str, takes: Sequence[Take], described: Mapping[str, Described]) -> str:
    """The page as text; see `write_audition`."""
    parts = [
        f"<h1>{escape(title)}</h1>",
        '<p class="soft">One recording, as loud each time (ITU-R BS.1770-4). Keys: 0 to 9 choose, space plays and '
        "stops, arrows go back and on, b hides the names.</p>",
        _deck(takes),
        "<h2>Captures</h2>",
        _about(takes, described),
    ]
    if importlib.util.find_spec("matplotlib") is not None:
        parts += ["<h2>Spectrograms</h2>", _picture(takes)]
    notes = [f"{name}: {note}" for name, one in described.items() for note in one.notes]
    if notes:
        parts += ["<h2>Notes</h2>", f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"]
    return page(title, parts, SCRIPT, STYLE)


def _deck(takes: Sequence[Take]) -> str:
    rows = "".join(
        f'<li><button type="button" data-name="{escape(take.name)}" aria-pressed="false" hidden></button>'
        f"<span>{escape(take.name)}</span>"
        f'<audio controls preload="metadata" aria-label="{escape(take.name)}" src="{sound_url(take.matched, RATE)}">'
        "</audio></li>"
        for take in takes
    )
    return (
        '<section id="deck"><div id="transport" hidden><button type="button" id="play">Play</button>'
        '<input type="range" id="place" min="0" max="1" step="any" value="0" aria-label="place in the recording">'
        '<output id="time"></output><label><input type="checkbox" id="blind"> hide names</label></div>'
        f'<ol id="takes" start="0">{rows}</ol></section>'
    )


def _about(takes: Sequence[Take], described: Mapping[str, Described]) -> str:
    headings = dict.fromkeys(heading for one in described.values() for heading, _ in one.columns())
    columns = [heading for heading in headings if heading != "size"]
    lines = []
    for take in takes:
        told = dict(described[take.name].columns()) if take.name in described else {}
        cells = [f"{take.lufs:.1f}", f"{take.gain_db:+.1f}", str(take.latency_samples)]
        lines.append(figures([take.name, *cells, *(told.get(column, "") for column in columns)]))
    return table(["", "LUFS as played", "gain here, dB", "latency, samples", *columns], lines)


def _picture(takes: Sequence[Take]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = spectrogram_figure(Path(folder) / "picture.png", [(one.name, one.matched) for one in takes], RATE)
        url = data_url("image/png", path.read_bytes())
    described = escape(f"spectrograms of {', '.join(one.name for one in takes)}")
    return f'<figure class="picture"><img alt="{described}" src="{url}"></figure>'
