"""Every offline system, as published and repaired, on the same real sounds; writes docs/reproductions.md.

    python scripts/reproductions.py CONTENT_DIR STYLE_DIR [--only NAME[:FORM]] [--pair P] [--sounds DIR]
    python scripts/reproductions.py CONTENT_DIR STYLE_DIR --students [--only NAME] [--minutes M] [--sounds DIR]

Each transfer runs in a process of its own, so that its peak memory is its own. Figures are kept in
docs/reproductions.json: rows that are run again replace theirs, the others stay, and the page is written from all of
them. With --students the live student of each teacher is forged and measured; with --page nothing is run. The folder
of --sounds is laid out for `duende listen`; students are kept there as presets.
"""

import argparse
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import soundfile

from duende import DuendeError
from duende.engine.bench import machine
from duende.export.provenance import provenance, source_of, write_sound
from duende.export.sounds import level_dbfs, load_sound
from duende.export.takes import loudest_stretch
from duende.export.teachers.registry import NAMES
from duende.export.teachers.teacher import Cost
from duende.export.teachers.transfer import choose
from duende.presets.format import write_atomically

if TYPE_CHECKING:
    from duende.export.forge import Forged

Float32 = npt.NDArray[np.float32]
Figures = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
PAGE, KEPT, PICTURES = (ROOT / "docs" / name for name in ("reproductions.md", "reproductions.json", "pictures"))
PICTURES = PICTURES / "reproductions"

RATE = 48000
CONTENT_S, STYLE_S = 3.0, 5.0
FORMS = ("faithful", "repaired")
FRESH_SEEDS, FRESH_FILTERS = (881, 882), 1024
PAIRS = {
    "cello": ("guitar-di.wav", "cello-phrase.wav"),
    "sax": ("acoustic-guitar.wav", "sax-phrase.wav"),
    "rain": ("guitar-di.wav", "rain.wav"),
}
WINDOWED = ("autoencoder", "vae", "hybrid")
WINDOW = 16 * 512 * RATE / 22050
"""Samples from window to window of their faithful forms; the hybrid's, twice as long, overlap by half."""
STUDENT_STYLE = "cello-phrase.wav"
NO_TEACHER = "none"
STUDENT_MINUTES, STUDENT_STEPS = 5.0, 120
"""The minutes say how much a teacher may play, the steps how long its student is trained: all alike."""
LARGEST_PICTURE = 150_000
UNTOUCHED, MATCHED_EQ, FLOOR = "untouched input", "matched EQ", "floor"
MARGIN, LOSS = 0.15, 0.01
"""A repaired form's *taken and kept* is so much better, and it loses less of onset F1 and of chroma."""
SEAMS = ("window_rate_db", "seam_db")
FIGURES = {
    "both": "taken and kept",
    "fresh": "Gram, fresh filters",
    "style_ratio": "style distance",
    "envelope_ratio": "band envelopes",
    "mfcc_distance": "MFCC",
    "chroma": "chroma",
    "multi_pitch": "multi-pitch",
    "onset_f1": "onset F1",
    "loudness": "loudness",
    "harmonic_share": "harmonic share",
    "drone_db": "drone, dB",
    "convergence_db": "convergence, dB",
    "level_db": "level, dB",
    "centroid_hz": "centroid, Hz",
    "pitch_salience": "salience",
    "inharmonicity": "inharmonicity",
}
PUBLISHED = {
    "cnn": "One layer of 4096 random filters, L-BFGS, 300 iterations, Griffin-Lim (Ulyanov and Lebedev 2016). "
    "Published: a notebook with its final loss (565.25). Measured by others (Cífka et al. 2021): 3 % of the way to the "
    "style's timbre, a pitch distance to the content of 0.13 of 1. Eight listeners gave a variant of it 2.3 to 3.8 "
    "of 5.",
    "kernel": "Nothing: it is the limit of the random network for infinitely many filters, in closed form. Its "
    "faithful form keeps the published protocol, with the kernel in place of the filters.",
    "sms": "Sinusoids and residual before the random network (Ordiales and Barrera 2019). Published: with magnitude, "
    "frequency and phase as channels `close to white noise`, with 16 to 32 sinusoids alone `more defined`; 45 minutes "
    "for 3 s.",
    "vgg19": "VGG19 on spectrograms as pictures (Garcia and Bernal). Published: the first attempt quiet and noisy; the "
    "second, with other layers, style weight 10e8 and rate 0.1, lets the style be heard in the content; no figures.",
    "autoencoder": "Windowed spectrograms through an encoder-decoder, blended with the style (Garcia and Bernal). "
    "Published: fewer artefacts than VGG19, but periodic repetitions and seams between windows; no figures.",
    "vae": "The same as a variational autoencoder, blend 0.75, rate 0.01. Published: better than the encoder-decoder, "
    "still repeats; no figures.",
    "hybrid": "VGG19 for the texture, an encoder-decoder to join the windows: proposed by Garcia and Bernal, never "
    "built by them.",
}


# -- running -----------------------------------------------------------------------------------------------------------


def excerpts(contents: Path, styles: Path, folder: Path) -> None:
    """Cut the pairs' sounds: FOLDER/PAIR/content.wav and style.wav, 48 kHz, mono."""
    for pair, (content, style) in PAIRS.items():
        place = folder / pair
        place.mkdir(parents=True, exist_ok=True)
        for name, path, seconds in (("content", contents / content, CONTENT_S), ("style", styles / style, STYLE_S)):
            audio = loudest_stretch(load_sound(path, RATE), seconds, RATE)
            gain = np.float32(min(1.0, 0.97 / float(np.abs(audio).max())))
            soundfile.write(place / f"{name}.wav", audio * gain, RATE, "FLOAT")


def run_row(name: str, form: str, folder: Path, kept: Figures, pairs: Sequence[str]) -> None:
    """Make a row's sounds, one process each; its figures go into `kept`, its picture beside the page.

    What is made is saved at once; a picture is drawn of all that lie in the folder.
    """
    for pair in pairs:
        place = folder / pair
        title = f"{name}:{form}"
        print(f"{title}, {pair} ...", end=" ", flush=True)
        command = [sys.executable, __file__, "--make", title, str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        figures: Figures = {}
        if done.returncode == 0:
            figures = json.loads(done.stdout.splitlines()[-1])
            print(f"{figures['seconds']:.1f} s, {figures['memory'] / 1e9:.2f} GB", flush=True)
        else:
            figures = {"refused": (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]}
            print(figures["refused"], flush=True)
        kept.setdefault("rows", {}).setdefault(title, {})[pair] = figures
        if "references" in figures:
            kept.setdefault("references", {})[pair] = figures.pop("references")
        save(kept)
    files = {pair: folder / pair / f"{name}-{form}.wav" for pair in PAIRS}
    pictured = [(pair, load_sound(file, RATE)) for pair, file in files.items() if file.is_file()]
    if pictured:
        draw(PICTURES / f"{name}-{form}.png", pictured)


def make(title: str, place: Path) -> Figures:
    """One transfer, in this process: writes the sound into the pair's folder and returns its figures."""
    from duende.export.descriptors import describe
    from duende.export.measures import matched_eq
    from duende.export.teachers.files import fitted, measured_pair
    from duende.export.teachers.teacher import StyleSound
    from duende.export.teachers.transfer import Options, transfer

    choice = choose(title)
    rate = choice.sample_rate
    content, style = (load_sound(place / f"{one}.wav", rate) for one in ("content", "style"))
    before = time.process_time()
    done = transfer(content, [StyleSound(style)], choice, Options())
    worked = time.process_time() - before
    memory = peak_memory()
    origin = provenance(title, 1, [source_of(place / f"{one}.wav", one) for one in ("content", "style")])
    # All measures but this one are blind to level, and a result may be next to silent.
    level_db = level_dbfs(done.audio) - level_dbfs(content)
    heard = done.audio * np.float32(10.0 ** (-min(level_db, 0.0) / 20.0))
    write_sound(
        place / f"{title.replace(':', '-')}.wav",
        heard * np.float32(min(1.0, 0.97 / max(float(np.abs(heard).max()), 1e-9))),
        rate,
        "WAV",
        "FLOAT",
        origin,
    )
    guitar, clip = (load_sound(place / f"{one}.wav", RATE) for one in ("content", "style"))
    output = fitted(load_sound(place / f"{title.replace(':', '-')}.wav", RATE), len(guitar))
    notes: list[str] = []
    measured = measured_pair(guitar, clip, {"result": output}, notes.append)
    if not measured:
        raise DuendeError("; ".join(notes))
    references = {one: dict(measured[one]) for one in (UNTOUCHED, MATCHED_EQ, FLOOR)}
    eq = matched_eq(guitar, clip, RATE)
    references[MATCHED_EQ] |= describe(guitar, clip, eq, RATE)["result"]
    references[FLOOR] |= measured["style clip"]
    for name, audio in ((UNTOUCHED, guitar), (MATCHED_EQ, eq), (None, output)):
        (measured["result"] if name is None else references[name])["fresh"] = fresh(audio, guitar, clip)
    joints = seams(output) if title.partition(":")[0] in WINDOWED else {}
    references[UNTOUCHED] |= seams(guitar)
    return {
        "seconds": done.seconds,
        "cpu_seconds": worked,
        "memory": memory,
        "grown": done.memory,
        "forecast": {"seconds": done.forecast.seconds, "memory": done.forecast.memory},
        "iterations": done.history[-1].iteration if done.history else 0,
        "about": choice.system.about.get(choice.form, ""),
        "measures": measured["result"] | {"level_db": level_db} | joints,
        "references": references,
        "notices": [*done.notices, *notes],
    }


def fresh(audio: Float32, content: Float32, style: Float32) -> float:
    """The published style error on filters that no search has used, over that of the untouched content."""
    import soxr

    from duende.export.teachers.cnn import fresh_style_error
    from duende.export.teachers.spectra import Analysis, log_magnitudes, stft

    analysis = Analysis()

    def seen(sound: Float32) -> Float32:
        level = np.float32(0.1 / np.sqrt(np.mean(np.square(sound, dtype=np.float64)) + 1e-12))
        low = soxr.resample(sound * level, RATE, analysis.sample_rate)
        return log_magnitudes(stft(np.asarray(low, dtype=np.float32), analysis), analysis)

    heard, before, wanted = (seen(sound) for sound in (audio, content, style))
    errors = [[fresh_style_error(one, wanted, seed, FRESH_FILTERS) for seed in FRESH_SEEDS] for one in (heard, before)]
    return float(np.mean(errors[0]) / np.mean(errors[1]))


def seams(audio: Float32) -> Figures:
    """What windows of the published length leave in a sound: steps where they meet, and what all have in common."""
    from duende.export.teachers.seams import seam_step_db, window_rate_db

    return {"seam_db": seam_step_db(audio, RATE, WINDOW), "window_rate_db": window_rate_db(audio, RATE, WINDOW)}


def peak_memory() -> int:
    """Bytes that this process has held at most, Python and its libraries included."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    except (OSError, StopIteration):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most


def draw(path: Path, rows: Sequence[tuple[str, Float32]]) -> None:
    """Spectrograms one above the other, as a PNG of less than 150 kB."""
    import PIL.Image

    from duende.export.pictures import spectrogram_figure

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        whole = PIL.Image.open(spectrogram_figure(Path(folder) / "whole.png", list(rows), RATE)).convert("RGB")
    for width in (800, 720, 640, 560, 480, 400):
        small = whole.resize((width, round(whole.height * width / whole.width)), PIL.Image.Resampling.LANCZOS)
        file = io.BytesIO()
        small.quantize(64).save(file, format="png", optimize=True)
        if len(file.getvalue()) < LARGEST_PICTURE:
            break
    write_atomically(path, file.getvalue())


# -- students ----------------------------------------------------------------------------------------------------------


def run_student(
    name: str, contents: Path, styles: Path, minutes: float, kept: Figures, presets: Path | None = None
) -> None:
    """Forge the live student of a teacher ("none": of the statistics alone), and measure it as any preset."""
    print(f"student of {name} ...", end=" ", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        places = [str(place) for place in (contents, styles, presets or Path(temporary))]
        command = [sys.executable, __file__, "--student", name, *places, str(minutes)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        figures = json.loads(done.stdout.splitlines()[-1])
        print(f"{figures['seconds']:.0f} s, {figures['real_time_factor']:.1f} x real time", flush=True)
    else:
        figures = {"refused": (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]}
        print(figures["refused"], flush=True)
    kept.setdefault("students", {})[name] = figures


def student(name: str, contents: Path, styles: Path, presets: Path, minutes: float) -> Figures:
    """Forge and evaluate, in this process; the preset `student-NAME` stays in a folder of presets."""
    from duende.export.evaluate import evaluate_files
    from duende.export.forge import ForgeRequest, forge, sources
    from duende.presets.library import Library

    style, library, title = styles / STUDENT_STYLE, Library(own=presets), f"student-{name}"
    request = ForgeRequest(
        sources([style], title, apart=False), title, teacher=name, minutes=minutes, steps=STUDENT_STEPS
    )
    forged = forge(request, library, force=True)
    found = evaluate_files(library.find(title), contents, style, bench_seconds=0.0)
    takes = list(found.takes.values())
    eq = {key: mean(getattr(take.matched_eq, key) for take in takes) for key in PLAYED}
    return {
        "minutes": minutes,
        "seconds": forged.seconds,
        "real_time_factor": found.real_time_factor,
        "latency_samples": found.latency.added_samples,
        "pieces": pieces_of(name, forged),
        "measures": {key: mean(getattr(take.preset, key) for take in takes) for key in PLAYED},
        "matched EQ": eq,
        "kept": None if name == NO_TEACHER else kept_of(forged, style, name),
        "steps": len(forged.history),
        "notices": forged.notices,
    }


def pieces_of(teacher: str, forged: "Forged") -> int:
    """How many pieces a teacher played for a student, as the notices of the forging say."""
    from duende.export.forge import TARGET_PIECES

    if teacher == NO_TEACHER:
        return 0
    return next((int(m[1]) for n in forged.notices if (m := re.search(r"teacher played (\d+) of", n))), TARGET_PIECES)


def kept_of(forged: "Forged", style: Path, teacher: str) -> float:
    """What the forging says that the student keeps of its teacher; where that took too long for it, measured here."""
    from duende.engine.preset import load_rig
    from duende.engine.render import render_array
    from duende.export.kept import kept_share
    from duende.export.pluck import demo_phrase

    said = next((float(m[1]) / 100.0 for n in forged.notices if (m := re.search(r"keeps (-?\d+)%", n))), None)
    if said is not None:
        return said
    phrase = demo_phrase(RATE)
    output = render_array(load_rig(forged.entry), phrase, RATE)[: len(phrase)]
    return kept_share([phrase], [output], load_sound(style, RATE), RATE, teacher, "pitch-blind")


PLAYED = ("style_ratio", "envelope_ratio", "chroma", "multi_pitch", "onset_f1", "loudness", "drone_db")


def mean(values: Iterable[float | None]) -> float | None:
    """Of those that are there; None of none."""
    there = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(there)) if there else None


# -- the page ----------------------------------------------------------------------------------------------------------


def page(kept: Figures) -> str:
    """docs/reproductions.md from what is kept."""
    rows: Figures = kept.get("rows", {})
    parts = [
        "# Reproductions",
        "",
        "Written by `python scripts/reproductions.py`; the figures lie in [reproductions.json](reproductions.json). "
        f"Every offline system on the same sounds: the loudest {CONTENT_S:g} s of a recording of a real guitar, in "
        f"the style of the loudest {STYLE_S:g} s of another recording. *Faithful* is the published configuration, "
        f"*repaired* ours. What was not published is chosen and told by `duende teachers NAME`.",
        "",
        "| pair | content | style |",
        "|---|---|---|",
        *(f"| {pair} | `{content}` | `{style}` |" for pair, (content, style) in PAIRS.items()),
        "",
        "![The sounds that all began with](pictures/reproductions/originals.png)",
        "",
        "The figures of each table:",
        "",
        "- *taken and kept*: the measure by which a repaired form must be better. Cífka et al. judge a transfer by two "
        "sides, its timbre against the style's by MFCC and its pitches against the content's, and find no system with "
        "both; this is the harmonic mean of two shares: of the style, 1 - MFCC over that of the untouched input, and "
        "of the notes, multi-pitch. 0 for who only copies either sound, 1 at best.",
        "- *Gram, fresh filters*: the published style error on random filters that no search has used, over that of "
        "the untouched content. It knows the clip's notes: low where they are imprinted, too.",
        "- *style distance, band envelopes*: pitch-blind Gram distance and envelope error over those of a matched "
        "equaliser; 1 is what an equaliser reaches, the floor what the clip's own halves have between them (the "
        "descriptors of that row: the clip's own).",
        "- *MFCC*: distance of cepstral means and deviations to the style's, dB. *convergence*: spectral convergence "
        "against the content, dB; lower keeps more of it. *level*: of the result over the content's, dB.",
        "- *chroma, multi-pitch, onset F1, loudness*: how much of the playing is kept, 1 all. *drone*: energy at "
        "notes of the clip that are not being played, dB over the input's.",
        "- *centroid, salience, inharmonicity, harmonic share*: descriptors of the sound itself (`duende transfer` "
        "writes all of them into its JSON).",
        "",
        "## Repaired against faithful",
        "",
        f"Means over the pairs. A repair holds where *taken and kept* rises by {MARGIN:.0%} and neither onset F1 nor "
        f"chroma falls by {LOSS:g} or more.",
        "",
        "| system | taken and kept | by | onset F1 | chroma | MFCC | loudness | drone, dB | holds |",
        "|---" * 9 + "|",
        *(line for name in NAMES if (line := repair_line(name, kept))),
        "",
        "## Cost",
        "",
        f"{CONTENT_S:g} s of content, seconds of one core (the machine was shared, so a clock on the wall says less); "
        f"median over the pairs, and the worst. *Forecast* is what `duende transfer` says beforehand. Memory is the "
        f"peak of the whole process, Python and its libraries included.",
        "",
        "| system | form | seconds | worst | forecast | peak memory | iterations |",
        "|---|---|---|---|---|---|---|",
    ]
    parts += [line for title in ordered(rows) if (line := cost_line(title, rows[title]))]
    for pair in PAIRS:
        parts += [
            "",
            f"## {pair.capitalize()}",
            "",
            *measure_table(pair, kept),
        ]
    parts += ["", "## Each system", ""]
    for name in NAMES:
        if any(title.startswith(f"{name}:") for title in rows):
            parts += system_section(name, kept)
    parts += student_section(kept.get("students", {}))
    parts += shortfalls(kept)
    about = kept.get("machine", {})
    parts += [", ".join(f"{key}: {value}" for key, value in about.items()), ""]
    return "\n".join(map(wrapped, parts))


def wrapped(line: str) -> str:
    """A paragraph or point in lines of the repository's width; tables, pictures and heads as they are."""
    if line.startswith(("|", "!", "#")):
        return line
    indent = "  " if line.startswith("- ") else ""
    return textwrap.fill(line, 125, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def ordered(rows: Mapping[str, Any]) -> list[str]:
    """Titles in the order of the registry, faithful before repaired."""
    return [f"{name}:{form}" for name in NAMES for form in FORMS if f"{name}:{form}" in rows]


def cost_line(title: str, row: Mapping[str, Figures]) -> str:
    name, form = title.split(":")
    made = [figures for figures in row.values() if "seconds" in figures]
    if not made:
        return f"| {name} | {form} | not made |  |  |  |  |"
    seconds = [figures["cpu_seconds"] for figures in made]
    return (
        f"| {name} | {form} | {np.median(seconds):.1f} | {max(seconds):.1f} | {forecast(title).seconds:.0f} | "
        f"{max(figures['memory'] for figures in made) / 1e9:.2f} GB | {max(f['iterations'] for f in made)} |"
    )


def forecast(title: str) -> Cost:
    """What the system says of sounds as long as the pairs'."""
    choice = choose(title)
    content, style = (round(seconds * choice.sample_rate) for seconds in (CONTENT_S, STYLE_S))
    return choice.system.cost(content, style, choice.settings)


def judged(pair: str, title: str, kept: Figures) -> Figures | None:
    """The measures of a row or a reference, with *taken and kept*; None where there are none."""
    references = kept.get("references", {}).get(pair, {})
    measures = references.get(title) or kept.get("rows", {}).get(title, {}).get(pair, {}).get("measures")
    if measures is None:
        return None
    whole = references.get(UNTOUCHED, {}).get("mfcc_distance")
    distance, notes = measures.get("mfcc_distance"), measures.get("multi_pitch")
    if whole is None or distance is None or notes is None:
        return dict(measures)
    taken = max(0.0, 1.0 - distance / whole)
    found: Figures = measures | {"both": 2.0 * taken * notes / max(taken + notes, 1e-9)}
    return found


def means_of(title: str, kept: Figures, pairs: Iterable[str] = PAIRS) -> dict[str, float | None] | None:
    """Means of a row's measures over those of the pairs that were made."""
    found = [one for pair in pairs if (one := judged(pair, title, kept))]
    return {key: mean(values.get(key) for values in found) for key in (*FIGURES, *SEAMS)} if found else None


def both_forms(name: str, kept: Figures) -> list[str]:
    """The pairs on which both forms of a system were run: what they are compared on."""
    return [pair for pair in PAIRS if all(judged(pair, f"{name}:{form}", kept) for form in FORMS)]


def repair_line(name: str, kept: Figures) -> str:
    """Both forms of a system beside each other; empty until both are there."""
    pairs = both_forms(name, kept)
    before, after = (means_of(f"{name}:{form}", kept, pairs) for form in FORMS)
    if before is None or after is None:
        return ""
    keys = ("both", "onset_f1", "chroma", "mfcc_distance", "loudness", "drone_db")
    cells = [f"{number(before[key])} -> {number(after[key])}" for key in keys]
    old, new = before["both"], after["both"]
    cells.insert(1, f"{100.0 * (new / old - 1.0):+.0f} %" if old and new is not None else "-")
    kept_all = [(before[key], after[key]) for key in ("onset_f1", "chroma")]
    if old is None or new is None or any(value is None for pair in kept_all for value in pair):
        verdict = "-"
    else:
        holds = new >= (1.0 + MARGIN) * old and all((b or 0.0) > (a or 0.0) - LOSS for a, b in kept_all)
        verdict = "yes" if holds else "no"
    if len(pairs) < len(PAIRS):
        name = f"{name} ({', '.join(pairs)} alone)"
    return f"| {name} | {' | '.join(cells)} | {verdict} |"


def measure_table(pair: str, kept: Figures) -> list[str]:
    lines = ["| sound | " + " | ".join(FIGURES.values()) + " |", "|---" * (1 + len(FIGURES)) + "|"]
    for title in (UNTOUCHED, MATCHED_EQ, FLOOR, *ordered(kept.get("rows", {}))):
        values = judged(pair, title, kept)
        if values is not None:
            name = title.replace(":", ", ")
            lines.append(f"| {name} | " + " | ".join(number(values.get(key)) for key in FIGURES) + " |")
    return lines


def system_section(name: str, kept: Figures) -> list[str]:
    rows: Figures = kept.get("rows", {})
    parts = [f"### {name}", "", f"*Published.* {PUBLISHED[name]}", ""]
    for form in FORMS:
        row = rows.get(f"{name}:{form}", {})
        refused = next((figures["refused"] for figures in row.values() if "refused" in figures), None)
        if refused is not None:
            parts += [f"*{form.capitalize()}.* Not made: {refused}", ""]
        found = means_of(f"{name}:{form}", kept)
        if found is None:
            continue
        about = next((figures["about"] for figures in row.values() if figures.get("about")), "as it stands")
        parts += [
            f"*{form.capitalize()}* ({about.rstrip('.')}). What came out, mean of the pairs: style "
            f"distance {number(found['style_ratio'])} and band envelopes {number(found['envelope_ratio'])} of the "
            f"matched EQ's, Gram on fresh filters {number(found['fresh'])} of the content's; chroma "
            f"{number(found['chroma'])}, onset F1 {number(found['onset_f1'])}, loudness {number(found['loudness'])}, "
            f"drone {number(found['drone_db'])} dB{levelled(found)}.{seamed(found, kept)}",
            "",
        ]
    faithful, repaired = (means_of(f"{name}:{form}", kept, both_forms(name, kept)) for form in FORMS)
    if faithful is not None and repaired is not None:
        parts += [verdict(faithful, repaired), ""]
    for form in FORMS:
        if (PICTURES / f"{name}-{form}.png").is_file():
            pairs = [pair for pair in PAIRS if judged(pair, f"{name}:{form}", kept)]
            parts += [f"![{name}, {form}: {', '.join(pairs)}](pictures/reproductions/{name}-{form}.png)", ""]
    return parts


def levelled(found: Mapping[str, float | None]) -> str:
    """A word on a result that is far quieter than what was played."""
    level = found["level_db"]
    return f"; {-level:.0f} dB quieter than the content" if level is not None and level < -12.0 else ""


def seamed(found: Mapping[str, float | None], kept: Figures) -> str:
    """What the published windows leave, against what the content has there by chance."""
    if found["window_rate_db"] is None:
        return ""
    own = [judged(pair, UNTOUCHED, kept) or {} for pair in PAIRS]
    chance = {key: mean(one.get(key) for one in own) for key in SEAMS}
    return (
        f" Envelope energy at the rate of the published windows {number(found['window_rate_db'])} dB over chance "
        f"(content {number(chance['window_rate_db'])}), steps where they meet {number(found['seam_db'])} dB "
        f"(content {number(chance['seam_db'])})."
    )


def verdict(faithful: Mapping[str, float | None], repaired: Mapping[str, float | None]) -> str:
    """What the repair changed, in words that the figures decide."""
    words = []
    for key, label in (
        ("style_ratio", "style distance"),
        ("envelope_ratio", "envelope error"),
        ("mfcc_distance", "MFCC"),
    ):
        before, after = faithful[key], repaired[key]
        if before and after:
            words.append(f"{label} {100.0 * (after / before - 1.0):+.0f} %")
    for key in ("chroma", "multi_pitch", "onset_f1", "loudness"):
        before, after = faithful[key], repaired[key]
        if before is not None and after is not None:
            words.append(f"{FIGURES[key]} {after - before:+.2f}")
    if faithful["drone_db"] is not None and repaired["drone_db"] is not None:
        words.append(f"drone {repaired['drone_db'] - faithful['drone_db']:+.1f} dB")
    return f"*Repaired against faithful*: {', '.join(words)}."


def student_section(students: Mapping[str, Figures]) -> list[str]:
    if not students:
        return []
    minutes = ", ".join(f"{m:g}" for m in sorted({one["minutes"] for one in students.values() if "minutes" in one}))
    lines = [
        "## What survives on the stage",
        "",
        f"A live student forged from each teacher's sound beside the statistics (`duende forge {STUDENT_STYLE} "
        f"--teacher NAME --minutes {minutes} --steps {STUDENT_STEPS}`), measured through the engine on both guitars, "
        f"which it was not trained on. *Pieces*: how many of 24 the teacher played in its share of the minutes. "
        f"*Kept*: how much of what the teacher gains in style by working on a recording the student keeps by playing "
        f"it; over 100 % where the student goes further than its teacher, empty where it was not measured. *none*: "
        f"statistics alone. A style is trained for 500 steps as a rule: these students are a quarter as far.",
        "",
        "| teacher | pieces | style distance | band envelopes | chroma | multi-pitch | onset F1 | loudness | "
        "drone, dB | kept | real time factor |",
        "|---" * 11 + "|",
    ]
    first = next((one for one in students.values() if "measures" in one), None)
    if first is not None:
        cells = [number(first["matched EQ"][key]) for key in PLAYED]
        lines.append(f"| matched EQ |  | {' | '.join(cells)} |  |  |")
    for name in (NO_TEACHER, *NAMES):
        figures = students.get(name)
        if figures is None:
            continue
        if "refused" in figures:
            lines.append(f"| {name} | not made: {figures['refused']} |" + "  |" * 9)
            continue
        cells = [number(figures["measures"][key]) for key in PLAYED]
        kept = "" if figures["kept"] is None else f"{figures['kept']:.0%}"
        played = figures.get("pieces") or ""
        lines.append(f"| {name} | {played} | {' | '.join(cells)} | {kept} | {figures['real_time_factor']:.1f} |")
    return [*lines, ""]


SHORT: tuple[tuple[str, str, Callable[[float], bool]], ...] = (
    ("hardly keep the notes: chroma under 0.5", "chroma", lambda value: value < 0.5),
    ("do not keep the attacks: onset F1 under 0.5", "onset_f1", lambda value: value < 0.5),
    ("do not follow the playing: loudness under 0.5", "loudness", lambda value: value < 0.5),
    ("let notes stand that are not played: drone of 3 dB and more", "drone_db", lambda value: value >= 3.0),
    ("fade away: 12 dB and more below the content", "level_db", lambda value: value <= -12.0),
    ("come no nearer to the style than an equaliser: style distance of 1 and more", "style_ratio", lambda v: v >= 1.0),
)
"""What falls short, the measure that tells it, and where."""


def shortfalls(kept: Figures) -> list[str]:
    """Every row, and every student, that misses what a player would ask for."""
    rows: Figures = kept.get("rows", {})
    lines = []
    for label, key, short in SHORT:
        found = []
        for title in ordered(rows):
            measured = {pair: (judged(pair, title, kept) or {}).get(key) for pair in PAIRS}
            bad = [f"{pair} {number(value)}" for pair, value in measured.items() if value is not None and short(value)]
            if bad:
                found.append(f"{title.replace(':', ' ')} ({', '.join(bad)})")
        for name, figures in kept.get("students", {}).items():
            value = figures.get("measures", {}).get(key)
            if value is not None and short(value):
                found.append(f"the student of {name} ({number(value)})")
        if found:
            lines.append(f"- {label}: {'; '.join(found)}.")
    missing = []
    for title in (f"{name}:{form}" for name in NAMES for form in FORMS):
        lacking = [pair for pair in PAIRS if judged(pair, title, kept) is None]
        if lacking:
            missing.append(f"{title.replace(':', ' ')} ({', '.join(lacking)})")
    if missing:
        lines.append(f"- not run: {'; '.join(missing)}.")
    untaught = [name for name in (NO_TEACHER, *NAMES) if "measures" not in kept.get("students", {}).get(name, {})]
    if untaught:
        lines.append(f"- no student: {', '.join(untaught)}.")
    return ["## What falls short", "", *lines, ""] if lines else []


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if abs(value) >= 100.0 else f"{value:.2f}"


# -- the program -------------------------------------------------------------------------------------------------------


def chosen(only: Sequence[str]) -> list[tuple[str, str]]:
    """Rows to run: NAME is both forms, NAME:FORM one. DuendeError for what there is not."""
    rows = []
    for text in only or NAMES:
        name, _, form = text.partition(":")
        if name not in NAMES or form not in ("", *FORMS):
            raise DuendeError(f"--only {text!r}: choose {', '.join(NAMES)}, with :faithful or :repaired")
        rows += [(name, one) for one in ([form] if form else FORMS)]
    return rows


def main() -> None:
    if sys.argv[1:2] == ["--make"]:
        print(json.dumps(make(sys.argv[2], Path(sys.argv[3]))))
        return
    if sys.argv[1:2] == ["--student"]:
        contents, styles, presets = map(Path, sys.argv[3:6])
        print(json.dumps(student(sys.argv[2], contents, styles, presets, float(sys.argv[6]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contents", type=Path, nargs="?")
    parser.add_argument("styles", type=Path, nargs="?")
    parser.add_argument("--only", action="append", default=[], help="NAME or NAME:FORM; repeatable")
    parser.add_argument("--pair", action="append", choices=tuple(PAIRS), help="only this one; repeatable")
    parser.add_argument("--students", action="store_true", help="forge and measure students instead")
    parser.add_argument(
        "--minutes", type=float, default=STUDENT_MINUTES, help="to forge a student in, the teacher's playing included"
    )
    parser.add_argument("--sounds", type=Path, help="keep all sounds, or students, in this folder")
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    options = parser.parse_args()
    kept: Figures = {}
    started = time.perf_counter()
    if not options.page:
        if options.contents is None or options.styles is None:
            parser.error("give CONTENT_DIR and STYLE_DIR, or --page")
        os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
        kept["machine"] = machine()
        if options.students:
            for name in options.only or (NO_TEACHER, *NAMES):
                run_student(name, options.contents, options.styles, options.minutes, kept, options.sounds)
                save(kept)
        else:
            with tempfile.TemporaryDirectory() as temporary:
                folder = options.sounds or Path(temporary)
                excerpts(options.contents, options.styles, folder)
                originals = [
                    (f"{pair}: {name}", load_sound(folder / pair / f"{name}.wav", RATE))
                    for pair in PAIRS
                    for name in ("content", "style")
                ]
                draw(PICTURES / "originals.png", originals)
                for name, form in chosen(options.only):
                    run_row(name, form, folder, kept, options.pair or tuple(PAIRS))
    save(kept)
    print(f"wrote {PAGE.relative_to(ROOT)} ({time.perf_counter() - started:.0f} s)")


def save(found: Figures) -> None:
    """Figures and page; what was run so far is not lost if the next row fails, nor what another run has kept."""
    kept: Figures = json.loads(KEPT.read_text()) if KEPT.is_file() else {}
    for part, figures in found.items():
        if part == "rows":
            figures = {title: kept.get(part, {}).get(title, {}) | row for title, row in figures.items()}
        kept[part] = kept.get(part, {}) | figures
    write_atomically(KEPT, (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode())
    write_atomically(PAGE, page(kept).encode())


if __name__ == "__main__":
    try:
        main()
    except DuendeError as error:
        sys.exit(str(error))
