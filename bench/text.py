"""What the embedded text-to-sound default can do: how sounds follow the words, what a listener hears, and a picture.

Run: ``python bench/text.py bench/text.md docs/pictures/text.png --dataset DIR [--pairs N]``. DIR: the set that the
models were trained on; its test instruments they never heard.
"""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from duende.export.text.account import DESCRIPTORS, Told, follows, sounding, told
from duende.export.text.backend import Sound, open_backend
from duende.export.text.features import features_of
from duende.export.text.models import Listener
from duende.export.text.nsynth import DataSet, Note, heard, read_nsynth
from duende.export.text.vocabulary import vector_of
from duende.presets.format import write_atomically

Float32 = npt.NDArray[np.float32]

SHOWN = (
    "acoustic guitar",
    "acoustic dark guitar",
    "electronic distortion guitar",
    "acoustic keyboard",
    "synthetic distortion fast_decay keyboard",
    "acoustic flute",
    "acoustic reverb flute",
    "acoustic reed",
    "acoustic bright brass",
    "acoustic string",
    "acoustic string nonlinear_env",
    "acoustic vocal",
    "acoustic mallet",
    "acoustic mallet long_release",
    "electronic organ",
    "electronic bright organ tempo-synced",
    "electronic bass",
    "synthetic percussive bass",
    "synthetic synth_lead",
    "acoustic multiphonic organ",
)


def main() -> None:
    """Measure, then write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=12)
    given = parser.parse_args()
    data = read_nsynth(given.dataset)
    sounds = {text: _made(text, 1, 57 if "bass" not in text else 40) for text in SHOWN}
    lines = [
        "<!-- made by bench/text.py -->",
        "",
        "# Text to sound: the embedded default",
        "",
        "What [the embedded default](../docs/text.md) makes of words. First, pairs of prompts of a random source and",
        "family, with the word and without it, of one seed: how a descriptor changes, and how often the right way.",
        "",
        *_followed(given.pairs),
        "",
        "Notes as notes, seed 1, 4 s: how far off the pitch (the weighted median of the lowest six partials; bells",
        "have partials of their own), how long they rise, what lies between the partials against them, and what is",
        "left in the last 50 ms, let go a second before.",
        "",
        *_as_notes(sounds),
        "",
        *_told(data, 5 * given.pairs),
    ]
    write_atomically(given.table, ("\n".join(lines) + "\n").encode())
    _picture(given.picture, sounds)


def _made(text: str, seed: int, pitch: int, velocity: int = 100) -> Sound:
    values = {"pitch": str(pitch), "velocity": str(velocity)}
    return open_backend("default").make(text, seed, 4.0, values, lambda done, total, doing: None)


def _followed(pairs: int) -> list[str]:
    backend = open_backend("default")
    lines = ["| word | should | median with / without (95 %) | right way | n |", "|---|---|---|---|---|"]
    for word, (name, rises, _) in DESCRIPTORS.items():
        one = follows(backend, word, pairs)
        lines.append(
            f"| {word} | {'raise' if rises else 'lower'}: {name} | {one.median:.2f} ({one.low:.2f} to {one.high:.2f}) "
            f"| {one.right:.0%} | {one.n} |"
        )
    return lines


def _as_notes(sounds: dict[str, Sound]) -> list[str]:
    lines = [
        "| prompt | off pitch, cents | rise, ms | between partials, dB | at the end, dB |",
        "|---|---|---|---|---|",
    ]
    for text, sound in sounds.items():
        f0 = 440.0 * 2.0 ** (((40 if "bass" in text else 57) - 69) / 12.0)
        one = sounding(sound.audio, sound.sample_rate, f0)
        lines.append(f"| {text} | {one.cents:+.0f} | {one.rise_ms:.0f} | {one.bed_db:.0f} | {one.rest_db:.0f} |")
    return lines


def _told(data: DataSet, sounds: int) -> list[str]:
    """What the listener tells of the test instruments' notes, and of sounds made from their prompts."""
    listener = Listener()
    features, notes = [], []
    for note, audio, rate in heard(data.part("test"), [], lambda done, total, doing: None):
        features.append(features_of(audio, rate))
        notes.append(note)
    judged = listener.judged(np.stack(features))
    held = told(judged, [note.prompt for note in notes])
    spread = _over_instruments(judged, notes)
    drawn = [notes[int(one)] for one in np.random.default_rng(1).permutation(len(notes))[:sounds]]
    made = [_made(note.prompt, seed, note.pitch, note.velocity) for seed, note in enumerate(drawn)]
    made_features = np.stack([features_of(one.audio, one.sample_rate) for one in made])
    rows = told(listener.judged(made_features), [note.prompt for note in drawn])
    own, others = _cosines(listener, np.stack(features), notes)
    made_own, made_others = _cosines(listener, made_features, drawn)
    instruments = len({note.instrument for note in notes})
    return [
        f"What the listener tells. Held out: {len(notes)} notes of {instruments} instruments that nothing was trained",
        f"on or chosen by; interval (95 %) over instruments. Made: {len(drawn)} sounds from such notes' prompts,",
        "pitches and velocities; interval over sounds. Source and family: the likeliest word. Qualities: how often a",
        "sound that has it ranks before one that has not. Listener and decoder learned from one set: it judges whether",
        "sounds are what that set means by the words, not whether people would say so.",
        "",
        "| told right | held-out instruments | sounds made from prompts | chance |",
        "|---|---|---|---|",
        *(
            f"| {one.what} | {_cell(one, spread[one.what])} | {_made_cell(rows, one.what)} | {one.chance:.0%} |"
            for one in held
        ),
        "",
        f"Relevance (cosine in the listener's space): held-out notes and their own prompts {own:.2f}, and others'",
        f"{others:.2f}; made sounds {made_own:.2f} and {made_others:.2f}.",
    ]


def _cosines(listener: Listener, features: Float32, notes: Sequence[Note]) -> tuple[float, float]:
    """Mean cosine of sounds with their own prompts, and with those that say something else."""
    meant = listener.meant(np.stack([vector_of(note.prompt.split()) for note in notes]))
    alike = listener.heard(features) @ meant.T
    apart = np.array([[one.prompt != other.prompt for other in notes] for one in notes])
    return float(alike.diagonal().mean()), float(alike[apart].mean())


def _over_instruments(judged: Float32, notes: Sequence[Note]) -> dict[str, tuple[float, float]]:
    """95 % interval of every row's share by bootstrap over instruments."""
    names = sorted({note.instrument for note in notes})
    rows = {name: [place for place, note in enumerate(notes) if note.instrument == name] for name in names}
    rng = np.random.default_rng(3)
    shares: dict[str, list[float]] = {}
    for _ in range(200):
        places = [place for name in rng.choice(names, len(names)) for place in rows[str(name)]]
        for one in told(judged[places], [notes[place].prompt for place in places]):
            shares.setdefault(one.what, []).append(one.share)
    return {what: (float(np.percentile(one, 2.5)), float(np.percentile(one, 97.5))) for what, one in shares.items()}


def _cell(one: Told, interval: tuple[float, float]) -> str:
    return f"{one.share:.0%} ({interval[0]:.0%} to {interval[1]:.0%})"


def _made_cell(rows: list[Told], what: str) -> str:
    for one in rows:
        if one.what == what:
            return f"{one.share:.0%}" if np.isnan(one.low) else _cell(one, (one.low, one.high))
    return "-"


def _picture(path: Path, sounds: dict[str, Sound]) -> None:
    """Log spectrograms, 0 to 12 kHz, 80 dB."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 10), layout="constrained")
    for place, (text, sound) in enumerate(sounds.items()):
        axes = figure.add_subplot(4, 5, place + 1)
        axes.imshow(_levels(sound.audio), origin="lower", aspect="auto", extent=(0.0, 4.0, 0.0, 12.0), vmin=-80, vmax=0)
        axes.set_title(text, fontsize=8)
        axes.tick_params(labelsize=6)
        if place % 5 == 0:
            axes.set_ylabel("kHz", fontsize=7)
        if place >= 15:
            axes.set_xlabel("s", fontsize=7)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80)
    write_atomically(path, file.getvalue())


def _levels(audio: Float32) -> npt.NDArray[np.float64]:
    """dB under the loudest, [bins to 12 kHz, frames]."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, 2048)[::512]
    power = np.abs(np.fft.rfft(frames * np.hanning(2048), axis=1)) ** 2
    level = 10.0 * np.log10(power / power.max() + 1e-12)
    return np.asarray(level[:, : 2048 * 12000 // 48000].T, dtype=np.float64)


if __name__ == "__main__":
    main()
