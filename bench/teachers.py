"""The random network as published against its closed form on one pair of sounds; writes bench/teachers.md.

Both run on one thread, in one go, with the same content weight; they are judged on filters that neither has seen.
Arguments: a content and a style file; without them the built-in phrase and synthetic bowed notes.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from threadpoolctl import threadpool_limits

from duende.engine.bench import machine
from duende.export.measures import Judge
from duende.export.pluck import demo_phrase
from duende.export.sounds import load_sound
from duende.export.teachers.cnn import fresh_errors
from duende.export.teachers.gram import CNN, KERNEL, PUBLISHED, TARGET_ALPHA, GramSettings, GramTeacher
from duende.export.teachers.solve import Solution
from duende.export.teachers.spectra import Analysis, log_magnitudes, stft
from duende.export.teachers.targets import teacher_targets
from duende.export.teachers.teacher import Job, Step, StyleSound

Float32 = npt.NDArray[np.float32]

RATE = 48000
FRESH_SEEDS = (881, 882, 883)
RUNS = {
    "cnn: 4096 filters, from noise (as published)": (CNN, PUBLISHED),
    "kernel, from noise (default)": (KERNEL, PUBLISHED),
    "kernel, from the content": (KERNEL, replace(PUBLISHED, start="content")),
    "kernel, from the content, 60 iterations (targets)": (KERNEL, replace(PUBLISHED, start="content", iterations=60)),
}
FASTER = 5.0
ALPHAS = (0.01, 0.03, 0.05, 0.1, 0.3)
PIECE_S, PIECES, WORKERS = 3.2, 8, 2


@dataclass(frozen=True)
class Row:
    """What a search cost, its own errors at the end, and those on fresh filters (content times alpha)."""

    evaluations: int
    seconds: float
    own: tuple[float, float]
    fresh: tuple[float, float]


def bowed(seconds: float = 8.0) -> Float32:
    """Six bowed notes with vibrato and noise: float32 at RATE, peak 0.5."""
    generator = np.random.default_rng(3)
    out = np.zeros(round(seconds * RATE))
    length = len(out) // 6
    for index, pitch_hz in enumerate((261.6, 293.7, 349.2, 440.0, 392.0, 261.6)):
        t = np.arange(length) / RATE
        phase = 2.0 * np.pi * np.cumsum(pitch_hz * (1.0 + 0.004 * np.sin(2.0 * np.pi * 5.5 * t))) / RATE
        note = sum(np.sin(k * phase) / k for k in range(1, int(8000.0 / pitch_hz)))
        note = note + 0.05 * generator.standard_normal(length)
        swell = np.minimum(1.0, t / 0.12) * np.minimum(1.0, (t[-1] - t) / 0.08)
        out[index * length : (index + 1) * length] = note * swell
    return np.asarray(out * (0.5 / np.abs(out).max()), dtype=np.float32)


def searched(content: Float32, style: Float32, teacher: GramTeacher, settings: GramSettings) -> Row:
    """Run one search between log spectrograms and judge its end."""

    def told(step: Step) -> None:
        if step.iteration % 50 == 0:
            print(
                f"  {step.iteration}: {step.errors['content']:.1f} + {step.errors['style']:.1f}, {step.seconds:.0f} s",
                flush=True,
            )

    started = time.perf_counter()
    job = Job(content, (StyleSound(style, 1.0),), report=told)
    found: Solution = teacher.solve(content, [style], settings, job)
    seconds = time.perf_counter() - started
    fresh = judged(found.spectrogram, content, style, settings.alpha)
    return Row(
        found.evaluations, seconds, (found.history[-1].errors["content"], found.history[-1].errors["style"]), fresh
    )


def judged(spectrogram: Float32, content: Float32, style: Float32, alpha: float) -> tuple[float, float]:
    """Content (times alpha) and style error on fresh banks of 4096 filters, mean over banks."""
    errors = np.mean([fresh_errors(spectrogram, content, style, seed) for seed in FRESH_SEEDS], axis=0)
    return alpha * float(errors[0]), float(errors[1])


def search_table(content: Float32, style: Float32) -> list[str]:
    """The comparison, as Markdown."""
    analysis = Analysis()
    seen, wanted = (log_magnitudes(stft(audio, analysis), analysis) for audio in (content, style))
    untouched = judged(seen, seen, wanted, PUBLISHED.alpha)
    lines = [
        f"Content {len(content) / analysis.sample_rate:.1f} s ({len(seen)} frames), style "
        f"{len(style) / analysis.sample_rate:.1f} s ({len(wanted)} frames); 22 050 Hz, 2048 samples every 512,",
        f"alpha {PUBLISHED.alpha:g}, L-BFGS, at most {PUBLISHED.iterations} iterations. Errors on fresh "
        f"filters are means over {len(FRESH_SEEDS)} banks",
        "of 4096 filters that no search has used; own errors are those that the search itself lowered.",
        "",
        "| search | evaluations | seconds | s per evaluation | own content | own style | fresh content | fresh style |",
        "|---|---|---|---|---|---|---|---|",
        f"| content itself |  |  |  |  |  | 0 | {untouched[1]:.1f} |",
    ]
    rows = {}
    for title, (teacher, settings) in RUNS.items():
        print(title, flush=True)
        rows[title] = row = searched(seen, wanted, teacher, settings)
        lines.append(
            f"| {title} | {row.evaluations} | {row.seconds:.1f} | {row.seconds / row.evaluations:.4f} | "
            f"{row.own[0]:.1f} | {row.own[1]:.1f} | {row.fresh[0]:.1f} | {row.fresh[1]:.1f} |"
        )
    published, ours = rows[next(iter(RUNS))], rows["kernel, from noise (default)"]
    return [
        *lines,
        "",
        f"Closed form over published: {published.seconds / ours.seconds:.0f} times less time (figure to reach: "
        f"{FASTER:g}), style error on fresh filters {published.fresh[1] / ours.fresh[1]:.1f} times",
        f"lower (figure to reach: lower), content error {ours.fresh[0] / published.fresh[0]:.2f} times the published.",
    ]


def target_tables(content: Float32, style: Float32) -> list[str]:
    """How fast targets are made, and what the content's weight trades, as Markdown."""
    frames = round(PIECE_S * RATE)
    starts = np.linspace(0, len(content) - frames, PIECES).round().astype(int)
    started = time.perf_counter()
    teacher_targets([content[start : start + frames] for start in starts], style, RATE, workers=WORKERS)
    seconds = time.perf_counter() - started
    judge = Judge(content, style, RATE)
    rows = {"matched EQ": judge.measure(judge.matched_eq)}
    for alpha in ALPHAS:
        (made,) = teacher_targets([content], style, RATE, workers=1, alpha=alpha)
        rows[f"{alpha:g}{' (default)' if alpha == TARGET_ALPHA else ''}"] = judge.measure(made)
    lines = [
        f"{PIECES} targets of {PIECE_S:g} s at {RATE} Hz (kernel, 60 iterations, {WORKERS} workers): {seconds:.1f} s, "
        f"{seconds / PIECES:.2f} s each, the start of the",
        "workers included. The weight of the content, on this pair; measures as in docs/distillation.md:",
        "",
        "| alpha | style ratio | envelope ratio | pitch | multi-pitch | onsets F1 | loudness |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, row in rows.items():
        values = (row.style_ratio, row.envelope_ratio, row.chroma, row.multi_pitch, row.onset_f1, row.loudness)
        lines.append(f"| {title} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
    return lines


def sounds(content: Path | None, style: Path | None, seconds: float) -> tuple[dict[int, Float32], dict[int, Float32]]:
    """Content (its last seconds) and style by sample rate, as if read from files."""
    with tempfile.TemporaryDirectory() as folder:
        if content is None:
            content = Path(folder) / "phrase.wav"
            soundfile.write(content, demo_phrase(RATE)[: 10 * RATE], RATE)
        if style is None:
            style = Path(folder) / "bowed.wav"
            soundfile.write(style, bowed(), RATE)
        rates = (Analysis().sample_rate, RATE)
        played = {rate: load_sound(content, rate)[-round(seconds * rate) :] for rate in rates}
        return played, {rate: load_sound(style, rate) for rate in rates}


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("content", nargs="?", type=Path)
    parser.add_argument("style", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0, help="use the last seconds of the content")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    arguments = parser.parse_args()
    content, style = sounds(arguments.content, arguments.style, arguments.seconds)
    names = [
        "the built-in phrase" if arguments.content is None else f"`{arguments.content.name}`",
        "synthetic bowed notes" if arguments.style is None else f"`{arguments.style.name}`",
    ]
    with threadpool_limits(1):
        searches = search_table(content[Analysis().sample_rate], style[Analysis().sample_rate])
        targets = target_tables(content[RATE], style[RATE])
    lines = [
        "# Teachers: the random network as published, and in closed form",
        "",
        f"Written by `python bench/teachers.py`: {names[0]} with the style of {names[1]}. One thread, one run.",
        *searches,
        "",
        "## Targets for training",
        "",
        *targets,
        "",
        ", ".join(f"{key}: {value}" for key, value in machine().items()),
        "",
    ]
    arguments.out.write_text("\n".join(lines), encoding="utf-8")
    sys.stdout.write(arguments.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
