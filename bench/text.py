"""What the embedded text-to-sound default can do: how sounds follow the words, what a listener hears, and a picture.

Run: ``python bench/text.py bench/text.md docs/pictures/text.png --dataset DIR [--pairs N]``. DIR: the set that the
models were trained on; its test instruments they never heard. Needs the extra `train`, for the listeners of the folds.
"""

import argparse
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from duende.export.text.account import DESCRIPTORS, Told, follows, sounding, sounds_judged, told
from duende.export.text.backend import Sound, open_backend
from duende.export.text.features import features_of
from duende.export.text.learn import Examples, LearnConfig, train_listener
from duende.export.text.models import Listener
from duende.export.text.nsynth import DataSet, Note, heard, read_nsynth
from duende.export.text.vocabulary import vector_of
from duende.presets.format import write_atomically

Float32 = npt.NDArray[np.float32]

FOLDS = 5
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
        *_told(data),
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


def _told(data: DataSet) -> list[str]:
    """What listeners tell: the shipped one of what is made, those of the folds of instruments they never heard."""
    features, notes = [], []
    for note, audio, rate in heard(data.notes, [], lambda done, total, doing: None):
        features.append(features_of(audio, rate))
        notes.append(note)
    judged = _across(np.stack(features), notes)
    unheard = told(judged, [note.prompt for note in notes])
    rng = np.random.default_rng(1)
    drawn = sorted(rng.permutation(len(notes))[:120].tolist())
    made = [_made(notes[one].prompt, one, notes[one].pitch, notes[one].velocity) for one in drawn]
    prompts = [notes[one].prompt for one in drawn]
    listener = Listener()
    rows = told(sounds_judged([(one.audio, one.sample_rate) for one in made], listener), prompts)
    heard_rows = np.stack([features_of(one.audio, one.sample_rate) for one in made])
    cosines = listener.heard(heard_rows) @ listener.meant(np.stack([vector_of(text.split()) for text in prompts])).T
    others = np.array([[one != other for other in prompts] for one in prompts])
    test = [place for place, note in enumerate(notes) if note.split == "test"]
    own_rows = listener.heard(np.stack(features)[test])
    meant = listener.meant(np.stack([vector_of(notes[one].prompt.split()) for one in test]))
    apart = np.array([[notes[one].prompt != notes[other].prompt for other in test] for one in test])
    instruments = len({note.instrument for note in notes})
    own, other = float(cosines.diagonal().mean()), float(cosines[others].mean())
    held, strange = float((own_rows * meant).sum(axis=1).mean()), float((own_rows @ meant.T)[apart].mean())
    count = len({notes[one].instrument for one in test})
    spread = _over_instruments(judged, notes)
    return [
        f"What a listener tells. Held out: {len(notes)} notes of {instruments} instruments in {FOLDS} folds by",
        "instrument, each judged by a listener that was trained on other folds; the interval (95 %) is over",
        f"instruments. Made: {len(drawn)} sounds from such notes' prompts, pitches and velocities, judged by the",
        "shipped listener, interval over sounds. Source and family: the likeliest word. Qualities: how often a sound",
        "that has it ranks before one that has not. Listener and decoder learned from one set: it judges whether",
        "sounds are what that set means by the words, not whether people would say so.",
        "",
        "| told right | held-out instruments | sounds made from prompts | chance |",
        "|---|---|---|---|",
        *(
            f"| {one.what} | {_cell(one, spread[one.what])} | {_made_cell(rows, one.what)} | {one.chance:.0%} |"
            for one in unheard
        ),
        "",
        f"Relevance (cosine in the listener's space): {own:.2f} for the made sounds and their own prompts, {other:.2f}",
        f"for the same sounds and other prompts; {held:.2f} and {strange:.2f} for {len(test)} notes of {count}",
        "instruments of the test split.",
    ]


def _across(features: Float32, notes: Sequence[Note]) -> Float32:
    """Logits of every note [n, WORDS] by a listener that did not hear its instrument."""
    import torch

    fold = np.array([hashlib.sha256(f"fold {one.instrument}".encode()).digest()[0] % FOLDS for one in notes])
    words = np.stack([vector_of(one.prompt.split()) for one in notes])
    judged = np.zeros_like(words)

    def part(rows: npt.NDArray[np.bool_]) -> Examples:
        count = int(rows.sum())
        empty = np.zeros((count, 1), np.float32)
        return Examples(features[rows], empty, words[rows], empty, np.zeros(count, np.int64))

    for number in range(FOLDS):
        away, choose = fold == number, fold == (number + 1) % FOLDS
        listener = train_listener(part(~away & ~choose), part(choose), LearnConfig(), lambda done, total, doing: None)
        with torch.no_grad():
            judged[away] = listener(torch.from_numpy(features[away]))[1].numpy()
    return judged


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
