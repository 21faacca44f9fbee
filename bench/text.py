"""What the embedded text-to-sound default can do: how sounds follow the words, what a listener hears, and a picture.

Run: ``python bench/text.py bench/text.md docs/pictures/text.png [--dataset DIR] [--pairs N]``. DIR: the set that the
models were trained on, whose test split they never heard; without it one of other instruments is made.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from duende.export.text.account import DESCRIPTORS, Told, follows, sounds_judged, told
from duende.export.text.backend import open_backend
from duende.export.text.models import Listener
from duende.export.text.nsynth import make_nsynth, read_nsynth
from duende.presets.format import write_atomically

SHOWN = (
    "acoustic guitar",
    "acoustic dark guitar",
    "synthetic distortion fast_decay keyboard",
    "acoustic reverb flute",
    "electronic bright organ tempo-synced",
    "synthetic nonlinear_env synth_lead",
)


def main() -> None:
    """Measure, then write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--pairs", type=int, default=24)
    given = parser.parse_args()
    backend = open_backend("default")
    lines = [
        "<!-- made by bench/text.py -->",
        "",
        "# Text to sound: the embedded default",
        "",
        "What [the embedded default](../docs/text.md) makes of words. First, pairs of prompts of a random source and",
        "family, with the word and without it, of one seed: how a descriptor changes, and how often the right way.",
        "",
        "| word | should | median with / without (95 %) | right way | n |",
        "|---|---|---|---|---|",
    ]
    for word, (name, rises, _) in DESCRIPTORS.items():
        one = follows(backend, word, given.pairs)
        lines.append(
            f"| {word} | {'raise' if rises else 'lower'}: {name} | {one.median:.2f} ({one.low:.2f} to {one.high:.2f}) "
            f"| {one.right:.0%} | {one.n} |"
        )
    with tempfile.TemporaryDirectory() as folder:
        if given.dataset is None:
            every = make_nsynth(Path(folder) / "set", 88, 1, seed=2, rate=32000).notes
        else:
            every = read_nsynth(given.dataset).part("test")
        notes = list({note.instrument: note for note in every}.values())
        prompts = [note.prompt for note in notes]
        listener = Listener()
        held = told(sounds_judged([note.audio() for note in notes], listener), prompts)
        made = []
        for number, note in enumerate(notes):
            values = {"pitch": str(note.pitch), "velocity": str(note.velocity)}
            sound = backend.make(note.prompt, number, 4.0, values, lambda done, total, doing: None)
            made.append((sound.audio, sound.sample_rate))
        rows = told(sounds_judged(made, listener), prompts)
    lines += [
        "",
        "What the listener hears in instruments that neither it nor the decoder was trained on, and in sounds made",
        "from their prompts. Source and family: the likeliest word (95 % interval). Qualities: how often a sound that",
        "has it ranks before one that has not; n counts those that have it. The listener was trained on the same",
        "synthesis: it judges whether sounds are what that means by the words, not whether people would say so.",
        "",
        "| told right | held-out instruments | sounds made from their prompts | chance | n |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {a.what} | {_cell(a)} | {_cell(b)} | {a.chance:.0%} | {a.n} |" for a, b in zip(held, rows, strict=True)
    ]
    write_atomically(given.table, ("\n".join(lines) + "\n").encode())
    _picture(given.picture)


def _cell(one: Told) -> str:
    interval = "" if np.isnan(one.low) else f" ({one.low:.0%} to {one.high:.0%})"
    return f"{one.share:.0%}{interval}"


def _picture(path: Path) -> None:
    """Log spectrograms of a few prompts, 50 Hz to 12 kHz, 80 dB."""
    import io

    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    for place, text in enumerate(SHOWN):
        sound = open_backend("default").make(text, 1, 4.0, {}, lambda done, total, doing: None)
        axes = figure.add_subplot(2, 3, place + 1)
        axes.imshow(_levels(sound.audio), origin="lower", aspect="auto", extent=(0.0, 4.0, 0.0, 12.0), vmin=-80, vmax=0)
        axes.set_title(text, fontsize=8)
        axes.set_xlabel("s", fontsize=7)
        axes.set_ylabel("kHz", fontsize=7)
        axes.tick_params(labelsize=7)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80)
    write_atomically(path, file.getvalue())


def _levels(audio: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """dB under the loudest, [bins to 12 kHz, frames]."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, 2048)[::512]
    power = np.abs(np.fft.rfft(frames * np.hanning(2048), axis=1)) ** 2
    level = 10.0 * np.log10(power / power.max() + 1e-12)
    return np.asarray(level[:, : 2048 * 12000 // 48000].T, dtype=np.float64)


if __name__ == "__main__":
    main()
