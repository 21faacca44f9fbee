"""The report of an evaluation: one HTML file with sound, pictures, tables and verdicts that needs nothing else."""

import math
import re
import tempfile
from collections.abc import Collection, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..engine.spec import ModelSpec
from ..presets.format import write_atomically
from .evaluate import PRESET, Evaluation, Take, descriptor_rows, measure_rows, number, playing_rows, verdicts
from .measures import MATCHED_EQ, UNTOUCHED
from .page import data_url, figures, page, pairs, sound_url, table
from .pictures import spectrogram_figure

Float32 = npt.NDArray[np.float32]

CURVE_POINTS = 300
LOUDEST = 0.97
_CURVE_WIDTH, _CURVE_HEIGHT = 240.0, 90.0


def write_report(
    path: Path,
    evaluation: Evaluation,
    history: Sequence[Mapping[str, float]] = (),
    *,
    title: str | None = None,
) -> Path:
    """Write the report of an evaluation and return its path.

    path:    a file ending in .html or .htm, or a folder, in which it is called like the preset.
    history: how the training went: one mapping per noted step, "step" and the losses by name.
    The file holds its pictures (PNG) and sounds (FLAC, 16 bit) in itself, loads nothing and runs no script; it takes
    2 to 3 MB per guitar of 8 s. DuendeError where it cannot be written, or without matplotlib.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        path = path / f"{re.sub(r'[^A-Za-z0-9_-]+', '-', evaluation.name).strip('-') or 'report'}.html"
    write_atomically(path, render_html(evaluation, history, title=title).encode("utf-8"))
    return path


def render_html(
    evaluation: Evaluation, history: Sequence[Mapping[str, float]] = (), *, title: str | None = None
) -> str:
    """The report as text; see `write_report`."""
    heading = title or f"{evaluation.name}: evaluation"
    parts = [
        f"<h1>{escape(heading)}</h1>",
        _summary(evaluation),
        "<h2>Verdicts</h2>",
        _verdict_table(evaluation),
        "<h2>Sound</h2>",
        _sounds([(f"style: {evaluation.style}", evaluation.style_clip)], evaluation.sample_rate),
        *(_take(evaluation, name, take) for name, take in evaluation.takes.items()),
        "<h2>Playing</h2>",
        pairs(playing_rows(evaluation)),
    ]
    curves = loss_curves(history)
    if curves:
        parts += ["<h2>Training</h2>", f'<div class="curves">{"".join(curves)}</div>']
    for spec in evaluation.models:
        parts += [f"<h2>Model {escape(spec.name)}</h2>", pairs(provenance_rows(spec))]
    if evaluation.notices:
        rows = "".join(f"<li>{escape(notice)}</li>" for notice in evaluation.notices)
        parts += ["<h2>Notes</h2>", f"<ul>{rows}</ul>"]
    return page(heading, parts)


def loss_curves(history: Sequence[Mapping[str, float]], linear: Collection[str] = ()) -> list[str]:
    """One small chart per loss over the steps, as figures with inline SVG; logarithmic where a loss falls 30-fold.

    linear: names that are no losses and stay as they are.
    """
    names = dict.fromkeys(name for entry in history for name in entry if name != "step")
    figures = []
    for name in names:
        points = [
            (float(entry.get("step", place)), float(entry[name]))
            for place, entry in enumerate(history)
            if name in entry and math.isfinite(entry[name])
        ]
        if len(points) >= 2:
            figures.append(_curve(name, points, linear=name in linear))
    return figures


def provenance_rows(spec: ModelSpec) -> list[tuple[str, str]]:
    """What the model file says of itself and where it comes from, as text."""
    origin = spec.provenance
    rows = [("kind", f"{spec.kind}, gain law {spec.law}, {spec.sample_rate:g} Hz, {spec.bands} bands")]
    rows.append(("styles", ", ".join(spec.styles)))
    for clip in origin.clips:
        text = f"{clip.title} by {clip.author}, {clip.licence}"
        rows.append(("made from", text + (f", {clip.source}" if clip.source else "")))
    rows += [
        ("teacher", origin.teacher),
        ("content", origin.content),
        ("losses", ", ".join(f"{name} {weight:g}" for name, weight in origin.losses.items())),
        ("steps, seed", f"{origin.steps}, {origin.seed}"),
        ("made with", f"{origin.made_with}, {origin.created}"),
        ("licence", origin.licence),
    ]
    return rows


def _summary(evaluation: Evaluation) -> str:
    answers = [one.passed for one in verdicts(evaluation)]
    reached, judged = answers.count(True), len(answers) - answers.count(None)
    tone = "good" if reached == judged else "bad"
    latency = 1000.0 * evaluation.latency.added_samples / evaluation.sample_rate
    text = f'<p><strong class="{tone}">{reached} of {judged} figures reached</strong>'
    if judged < len(answers):
        text += f" <span class='soft'>({len(answers) - judged} without an answer)</span>"
    text += "</p>\n"
    takes = f"{len(evaluation.takes)} guitar" + ("s" if len(evaluation.takes) != 1 else "")
    facts = f"{takes}, {evaluation.sample_rate} Hz, style clip {evaluation.style}, {latency:.2f} ms added latency"
    for name, value in evaluation.values.items():
        facts += f", {name} = {value:g}"
    return text + f'<p class="soft">{escape(facts)}</p>'


def _verdict_table(evaluation: Evaluation) -> str:
    answers = {True: ("reached", "good"), False: ("missed", "bad"), None: ("no answer", "soft")}
    rows = []
    for one in verdicts(evaluation):
        word, tone = answers[one.passed]
        sense = {"<=": "\u2264", ">=": "\u2265"}[one.sense]
        cells = f'<td>{number(one.value)}</td><td>{sense} {number(one.bound)}</td><td class="{tone}">{word}</td>'
        rows.append(f"<tr><th>{escape(one.name)}</th>{cells}</tr>")
    return table(["figure", "value", "bound", ""], rows, "figures")


def _take(evaluation: Evaluation, name: str, take: Take) -> str:
    ours = evaluation.name
    sounds = [
        (f"input: {name}", take.sounds[UNTOUCHED]),
        (f"output: {ours}", take.sounds[PRESET]),
        ("for comparison: matched EQ", take.sounds[MATCHED_EQ]),
    ]
    rows = [sounds[0], (f"style: {evaluation.style}", evaluation.style_clip), *sounds[1:]]
    head, measured = measure_rows(evaluation, name)
    # One line per measure, the preset first: that fits a phone.
    measured = measured[-1:] + measured[-2::-1]
    columns = [head, *measured]
    lines = [figures([column[place] for column in columns]) for place in range(1, len(head))]
    described = escape(f"spectrograms of input, style, output and matched EQ, {name}")
    picture = (
        f'<figure class="picture"><img alt="{described}" src="{_spectrograms(rows, evaluation.sample_rate)}"></figure>'
    )
    return "\n".join(
        [
            f"<h3>{escape(name)}, {take.seconds:.1f} s</h3>",
            _sounds(sounds, evaluation.sample_rate),
            picture,
            table(["measure", *(column[0] for column in measured)], lines, "figures"),
            _descriptors(evaluation, name),
        ]
    )


def _descriptors(evaluation: Evaluation, name: str) -> str:
    """What the sounds are like, folded away."""
    rows = descriptor_rows(evaluation, name)
    if not rows:
        return ""
    lines = [figures([key.replace("_", " "), *(values[key] for _, values in rows)]) for key in rows[0][1]]
    shown = table(["descriptor", *(title for title, _ in rows)], lines, "figures")
    return f"<details><summary>Descriptors</summary>{shown}</details>"


def _sounds(sounds: Sequence[tuple[str, Float32]], sample_rate: int) -> str:
    """Players side by side. All are turned down alike where one of them would clip."""
    peak = max(float(np.abs(audio).max()) for _, audio in sounds)
    gain = np.float32(min(1.0, LOUDEST / max(peak, 1e-9)))
    figures = []
    for label, audio in sounds:
        source = sound_url(audio * gain, sample_rate)
        figures.append(
            f"<figure><figcaption>{escape(label)}</figcaption>"
            f'<audio controls preload="metadata" aria-label="{escape(label)}" src="{source}"></audio></figure>'
        )
    return f'<div class="sounds">{"".join(figures)}</div>'


def _spectrograms(rows: Sequence[tuple[str, Float32]], sample_rate: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        picture = spectrogram_figure(Path(folder) / "picture.png", list(rows), sample_rate)
        return data_url("image/png", picture.read_bytes())


def _curve(name: str, points: Sequence[tuple[float, float]], *, linear: bool = False) -> str:
    stride = -(-len(points) // CURVE_POINTS)
    drawn = [*points[:-1:stride], points[-1]]
    steps, values = np.array([p[0] for p in drawn]), np.array([p[1] for p in drawn])
    low, high = float(values.min()), float(values.max())
    logarithmic = not linear and low > 0.0 and high > 30.0 * low
    scaled = np.log(values) if logarithmic else values
    span = float(scaled.max() - scaled.min()) or 1.0
    x = (steps - steps[0]) / (float(steps[-1] - steps[0]) or 1.0) * _CURVE_WIDTH
    y = 4.0 + (scaled.max() - scaled) / span * (_CURVE_HEIGHT - 8.0)
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
    label = escape(name)
    scale = ", logarithmic" if logarithmic else ""
    return (
        f"<figure><figcaption>{label}: {number(values[0])} to {number(values[-1])}"
        f" ({number(low)} to {number(high)}{scale})</figcaption>"
        f'<svg viewBox="0 0 {_CURVE_WIDTH:g} {_CURVE_HEIGHT + 12.0:g}" role="img" aria-label="{label} over the steps">'
        f'<line x1="0" y1="{_CURVE_HEIGHT:g}" x2="{_CURVE_WIDTH:g}" y2="{_CURVE_HEIGHT:g}"/><path d="{path}"/>'
        f'<text x="0" y="{_CURVE_HEIGHT + 10.0:g}">{steps[0]:g}</text>'
        f'<text x="{_CURVE_WIDTH:g}" y="{_CURVE_HEIGHT + 10.0:g}" text-anchor="end">step {steps[-1]:g}</text>'
        f"</svg></figure>"
    )
