"""A plucked-string instrument: notes in, guitar out, from a seed and without recordings.

Each string is a sum of decaying modes (Fletcher and Rossing 1998, chapters 2 and 9): stiff-string partials,
excited by a pluck at a point, heard by a pick-up at another or through the body, treble dying first, each
partial split into the string's two polarisations. A note of n samples and K modes is one matrix product of
two small tables of complex powers instead of n x K exponentials. Loads numpy and scipy only.
"""

import enum
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import scipy.signal

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]


class Articulation(enum.Enum):
    """How a note is played."""

    PLUCKED = "plucked"
    PALM_MUTED = "palm muted"
    HAMMERED = "hammered"
    BENT = "bent"
    SLID = "slid"


@dataclass(frozen=True)
class Note:
    """One note. onset and duration in seconds, pitch as MIDI number (may be broken), velocity 0..1.

    interval: semitones that a bent note rises by over a fifth of a second, or that a slid note moves by, fret
    after fret; may be negative. Unused by the other articulations.
    """

    onset: float
    duration: float
    pitch: float
    velocity: float = 0.8
    articulation: Articulation = Articulation.PLUCKED
    interval: float = 2.0


@dataclass(frozen=True)
class Instrument:
    """A guitar, its strings, and the hand that plucks them.

    inharmonicity:   B of f_k = k f sqrt(1 + B k^2) for E3 (MIDI 52); doubles every octave. damping:
    decay rate in 1/s of a partial near 0 Hz for E3. treble_damping:  decay rate added at 1 kHz, in 1/s; grows
    as frequency to the power 1.5. pluck_position:  0..0.5 of the string's length from the bridge.
    pluck_width_ms:  smoothing of the pluck's corner at velocity 0.5: 0.03 a hard pick, 0.2 flesh; soft notes
    are
                     smoother.
    pick_noise:      amplitude of the click of pick or nail against the note.
    pickup_position: 0..0.5 of the open string from the bridge, or None for a body without pick-up.
    pickup_hz, pickup_q: resonance of the pick-up and its cable, a second-order low-pass.
    body_hz:         resonances of the body, in Hz; empty for a solid body.
    body_share:      0..1, how much of the sound goes through the resonances.
    detune_cents:    deviation of the tuning of a note.
    """

    inharmonicity: float = 8e-5
    damping: float = 0.9
    treble_damping: float = 1.6
    pluck_position: float = 0.13
    pluck_width_ms: float = 0.04
    pick_noise: float = 0.1
    pickup_position: float | None = 0.09
    pickup_hz: float = 3500.0
    pickup_q: float = 1.6
    body_hz: tuple[float, ...] = ()
    body_share: float = 0.0
    detune_cents: float = 2.5


# fmt: off
_STEEL_BODY_HZ = (
    98.0, 116.0, 196.0, 240.0, 376.0, 436.0, 560.0, 705.0, 890.0, 1180.0, 1520.0, 2100.0, 2900.0, 4100.0,
)
_CLASSICAL_BODY_HZ = (
    92.0, 103.0, 188.0, 228.0, 296.0, 410.0, 505.0, 640.0, 810.0, 1030.0, 1340.0, 1850.0, 2500.0,
)
# fmt: on

INSTRUMENTS = {
    "electric bridge": Instrument(pickup_position=0.06, pickup_hz=4200.0, pickup_q=2.2),
    "electric neck": Instrument(
        damping=0.8, pluck_position=0.17, pluck_width_ms=0.06, pickup_position=0.24, pickup_hz=2600.0, pickup_q=1.2
    ),
    "steel acoustic": Instrument(
        inharmonicity=1e-4,
        damping=1.3,
        treble_damping=2.0,
        pluck_position=0.15,
        pluck_width_ms=0.035,
        pick_noise=0.2,
        pickup_position=None,
        body_hz=_STEEL_BODY_HZ,
        body_share=0.45,
    ),
    "nylon": Instrument(
        inharmonicity=4e-5,
        damping=1.8,
        treble_damping=4.0,
        pluck_position=0.2,
        pluck_width_ms=0.08,
        pick_noise=0.12,
        pickup_position=None,
        body_hz=_CLASSICAL_BODY_HZ,
        body_share=0.5,
    ),
}

_OPEN_STRINGS = (40, 45, 50, 55, 59, 64)
_HIGHEST_HZ = 12000.0
_MODES = 140
_ROW = 512
_BATCH = 8
_QUIET_NEPERS = 10.0
_RELEASE_SECONDS = 0.3


def partials_hz(pitch: float, instrument: Instrument, highest_hz: float) -> Float64:
    """Frequencies of the partials of a MIDI pitch up to highest_hz, in Hz: float64 [partials]."""
    fundamental_hz = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
    stiffness = instrument.inharmonicity * 2.0 ** ((pitch - 52.0) / 12.0)
    order = np.arange(1.0, highest_hz / fundamental_hz + 1.0)
    hz = order * fundamental_hz * np.sqrt((1.0 + stiffness * order**2) / (1.0 + stiffness))
    return np.asarray(hz[hz < highest_hz])


def decay_rates(hz: Float64, pitch: float, instrument: Instrument) -> Float64:
    """Decay rates in 1/s of partials at hz: float64, the shape of hz. Short strings ring shorter."""
    shorter = 2.0 ** ((pitch - 52.0) / 24.0)
    return np.asarray(shorter * (instrument.damping + instrument.treble_damping * (hz / 1000.0) ** 1.5))


def _powers(poles: Complex128, step: int, count: int) -> Complex128:
    """exp(poles_k step n) for n = 0..count-1: complex128 [poles, count]; few exponentials, and products of them."""
    fine = 1 << (count.bit_length() // 2)
    near = np.exp(poles[:, None] * (step * np.arange(fine)))
    far = np.exp(poles[:, None] * (step * fine * np.arange(-(-count // fine))))
    return np.asarray((far[:, :, None] * near[:, None, :]).reshape(len(poles), -1)[:, :count])


def _sum_of_modes(amplitudes: Complex128, poles: Complex128, count: int) -> Float64:
    """Imaginary part of sum_k amplitudes_k exp(poles_k n) for n = 0..count-1: float64 [count], good to 1e-6.

    exp(p (a R + b)) = exp(p a R) exp(p b): one table over rows a, one over columns b, and a matrix product.
    """
    batches = -(-count // (_BATCH * _ROW))
    out = np.zeros((batches, _BATCH, _ROW), dtype=np.float32)
    order = np.argsort(-poles.real)
    # In groups of like decay: a group stops where its slowest mode has died.
    for group in np.array_split(order, max(1, len(order) // 24)):
        z = poles[group]
        used = min(batches, int(_QUIET_NEPERS / (-z.real.max() * _ROW * _BATCH)) + 1)
        left = (amplitudes[group, None] * _powers(z, _ROW, used * _BATCH)).T
        right = _powers(z, 1, _ROW)
        rows = np.concatenate((left.real, left.imag), axis=1, dtype=np.float32).reshape(used, _BATCH, -1)
        columns = np.concatenate((right.imag, right.real), dtype=np.float32)
        # A batch is small enough for the matrix library to stay on this thread: the corpus runs two of them.
        out[:used] += rows @ columns
    return np.asarray(out.ravel()[:count], dtype=np.float64)


def _excitation(hz: Float64, note: Note, instrument: Instrument, rng: np.random.Generator) -> Float64:
    """Amplitudes of the partials at the pick-up or bridge, sum of squares 1: float64 [partials].

    A pluck leaves modes of displacement sin(pi k p) / k^2, so of velocity (which a pick-up hears) sin(pi k p)
    / k; a fretted string is shorter, which moves pluck and pick-up towards its middle.
    """
    order = np.arange(1, len(hz) + 1)
    string = max((s for s in _OPEN_STRINGS if s <= note.pitch + 0.5), default=_OPEN_STRINGS[0])
    shortening = 2.0 ** ((note.pitch - string) / 12.0)
    pluck = min(0.5, instrument.pluck_position * shortening * rng.uniform(0.85, 1.15))
    width_ms = instrument.pluck_width_ms * (max(note.velocity, 0.05) / 0.5) ** -0.6
    if note.articulation is Articulation.HAMMERED:
        width_ms *= 2.0
    corner = np.exp(-0.5 * (2.0 * np.pi * hz * width_ms / 1000.0) ** 2)
    amplitudes = np.sin(np.pi * order * pluck) / order * corner
    if instrument.pickup_position is not None:
        amplitudes = amplitudes * np.sin(np.pi * order * min(0.5, instrument.pickup_position * shortening))
    amplitudes = amplitudes * np.exp(0.15 * rng.standard_normal(len(hz)))
    return np.asarray(amplitudes / np.sqrt(np.sum(amplitudes**2) + 1e-12))


def _bent_time(note: Note, count: int, sample_rate: float) -> Float64:
    """Where to read a steady note so that its pitch bends or slides: float64 [count], in samples."""
    time = np.arange(count) / sample_rate
    if note.articulation is Articulation.BENT:
        rise = np.clip((time - 0.07) / 0.2, 0.0, 1.0)
        vibrato = 0.12 * np.clip((time - 0.35) / 0.2, 0.0, 1.0) * np.sin(2.0 * np.pi * 5.2 * time)
        semitones = note.interval * rise * rise * (3.0 - 2.0 * rise) + vibrato
    else:
        frets = max(1, round(abs(note.interval)))
        travel = np.clip((time - 0.12) / 0.05, 0.0, frets)
        fret, part = np.floor(travel), travel - np.floor(travel)
        semitones = note.interval / frets * (fret + np.clip(3.0 * part - 2.0, 0.0, 1.0))
    speed = 2.0 ** (semitones / 12.0)
    return np.asarray(np.concatenate(([0.0], np.cumsum(speed[:-1]))))


def _string(note: Note, instrument: Instrument, sample_rate: float, rng: np.random.Generator) -> Float64:
    """The string of one note, from its onset to the end of its release: float64 [samples]."""
    pitch = note.pitch + instrument.detune_cents / 100.0 * rng.standard_normal()
    hz = partials_hz(pitch, instrument, min(_HIGHEST_HZ, 0.45 * sample_rate))[:_MODES]
    amplitudes = _excitation(hz, note, instrument, rng) * max(note.velocity, 0.0) ** 1.3
    rates = decay_rates(hz, pitch, instrument) * np.exp(0.25 * rng.standard_normal(len(hz)))
    if note.articulation is Articulation.PALM_MUTED:
        rates = rates + 7.0 + 14.0 * (hz / 1000.0)
    if note.articulation is Articulation.HAMMERED:
        amplitudes = 0.7 * amplitudes
    # The second polarisation: weaker, a little off in pitch, coupled less to the bridge and so slower to die.
    twins = min(40, len(hz))
    apart = 1.0 + 1e-4 * rng.uniform(1.0, 6.0, twins) * rng.choice((-1.0, 1.0), twins)
    amplitudes = np.concatenate((amplitudes, amplitudes[:twins] * rng.uniform(0.1, 0.4, twins)))
    rates = np.concatenate((rates, rates[:twins] * 0.6))
    hz = np.concatenate((hz, hz[:twins] * apart))

    moving = note.articulation in (Articulation.BENT, Articulation.SLID)
    held = max(1, round(note.duration * sample_rate))
    released = round(_RELEASE_SECONDS * sample_rate)
    bent = _bent_time(note, held + released, sample_rate) if moving else None
    sounding = held if bent is None else int(bent[held]) + 1
    ending = released if bent is None else int(bent[-1]) + 2 - sounding
    poles = np.asarray((-rates + 2j * np.pi * hz) / sample_rate, dtype=np.complex128)
    steady = _sum_of_modes(amplitudes.astype(np.complex128), poles, sounding)
    damped = np.asarray(poles - (22.0 + 30.0 * hz / 1000.0) / sample_rate, dtype=np.complex128)
    end = _sum_of_modes(amplitudes * np.exp(poles * sounding), damped, ending)
    sound = np.concatenate((steady, end))
    if bent is None:
        return sound
    return np.asarray(scipy.ndimage.map_coordinates(sound, bent[None], order=3, mode="nearest"))


@functools.lru_cache(maxsize=8)
def _click_band(sample_rate: float) -> tuple[Float64, Float64]:
    numerator, denominator = scipy.signal.butter(1, (900.0, 8000.0), "band", fs=sample_rate)
    return numerator, denominator


def _touch(note: Note, instrument: Instrument, sample_rate: float, rng: np.random.Generator) -> Float64:
    """What the hand adds at the onset: the click of the pick, and the thump of a palm: float64 [samples]."""
    time = np.arange(round(0.06 * sample_rate)) / sample_rate
    sound = np.zeros(len(time))
    if note.articulation is not Articulation.HAMMERED:
        click = rng.standard_normal(len(time)) * np.exp(-time / 0.0022) * (1.0 - np.exp(-time / 0.0004))
        click = scipy.signal.lfilter(*_click_band(sample_rate), click)
        sound += 2.0 * instrument.pick_noise * max(note.velocity, 0.0) ** 1.5 * click
    if note.articulation is Articulation.PALM_MUTED:
        thump_hz = rng.uniform(90.0, 140.0)
        sound += 0.25 * note.velocity * np.sin(2.0 * np.pi * thump_hz * time) * np.exp(-time / 0.014)
    return sound


def _body_response(instrument: Instrument, sample_rate: float) -> Float64:
    """Impulse response of body and room of air in it, unit energy: float64 [samples]."""
    time = np.arange(round(0.2 * sample_rate)) / sample_rate
    generator = np.random.default_rng(len(instrument.body_hz))
    response = np.zeros(len(time))
    for hz in instrument.body_hz:
        decay = np.pi * hz / generator.uniform(14.0, 30.0)
        response += decay * hz**-0.3 * np.sin(2.0 * np.pi * hz * time) * np.exp(-decay * time)
    # Above its separate resonances a body is a dense tail.
    tail = generator.standard_normal(len(time)) * np.exp(-time / 0.006)
    tail = scipy.signal.lfilter(*scipy.signal.butter(1, (600.0, 5000.0), "band", fs=sample_rate), tail)
    response = response / np.sqrt(np.sum(response**2)) + 0.5 * tail / np.sqrt(np.sum(tail**2))
    return np.asarray(response / np.sqrt(np.sum(response**2)))


def _through_instrument(strings: Float64, instrument: Instrument, sample_rate: float) -> Float64:
    """From the strings to the jack or the air: float64 [samples]."""
    if instrument.pickup_position is not None:
        omega = 2.0 * sample_rate * np.tan(np.pi * min(instrument.pickup_hz / sample_rate, 0.4))
        poles = [1.0, omega / instrument.pickup_q, omega**2]
        strings = scipy.signal.lfilter(*scipy.signal.bilinear([omega**2], poles, sample_rate), strings)
        strings = strings + 0.15 * strings**2  # a magnetic field weakens with distance
    if instrument.body_hz:
        body = scipy.signal.fftconvolve(strings, _body_response(instrument, sample_rate))[: len(strings)]
        strings = (1.0 - instrument.body_share) * strings + instrument.body_share * body
    return np.asarray(scipy.signal.lfilter(*scipy.signal.butter(1, 35.0, "high", fs=sample_rate), strings))


def render_notes(
    notes: Sequence[Note],
    instrument: Instrument,
    sample_rate: float,
    seconds: float,
    rng: np.random.Generator,
) -> Float32:
    """Play notes on one instrument: float32 [seconds * sample_rate], not clipped.

    A single note of velocity 1 has a peak of about 0.3. What lies before 0 or after the end is cut off. The
    same generator state gives the same samples.
    """
    count = round(seconds * sample_rate)
    strings = np.zeros(count)
    for note in notes:
        start = round(note.onset * sample_rate)
        string = _string(note, instrument, sample_rate, rng)
        for sound in (string, _touch(note, instrument, sample_rate, rng)):
            first, last = max(start, 0), min(start + len(sound), count)
            if first < last:
                strings[first:last] += 0.15 * sound[first - start : last - start]
    return _through_instrument(strings, instrument, sample_rate).astype(np.float32)


def strum(
    pitches: Sequence[float], onset: float, duration: float, velocity: float, spread: float = 0.012
) -> list[Note]:
    """The notes of a chord struck over `spread` seconds per string, in the order of `pitches`."""
    return [
        Note(onset + spread * index, duration - spread * index, pitch, velocity * (1.0 - 0.06 * index))
        for index, pitch in enumerate(pitches)
    ]


def demo_phrase(sample_rate: float = 48000) -> Float32:
    """Eleven seconds of guitar: a riff, an arpeggio, palm mutes, strummed chords, a bend, and a second of
    silence.

    float32 [11 * sample_rate], peak 0.5 (-6 dBFS); always the same.
    """
    riff = [
        Note(0.1, 0.42, 52, 0.9),
        Note(0.5, 0.2, 55, 0.7),
        Note(0.7, 0.22, 57, 0.75, Articulation.HAMMERED),
        Note(0.9, 0.4, 59, 0.85),
        Note(1.3, 0.75, 62, 0.9, Articulation.BENT, 2.0),
        Note(2.05, 0.45, 59, 0.7, Articulation.SLID, -2.0),
    ]
    arpeggio = [
        Note(2.5 + 0.2 * index, 2.5 - 0.2 * index, pitch, 0.6 + 0.05 * (index % 3))
        for index, pitch in enumerate((40, 47, 52, 55, 59, 64, 59, 55, 52, 55))
    ]
    mutes = [
        Note(5.0 + 0.15 * index, 0.14, pitch, 0.95 if index % 4 == 0 else 0.75, Articulation.PALM_MUTED)
        for index, pitch in enumerate((45, 45, 45, 48, 45, 45, 50, 48))
    ]
    chords = [
        *strum((45, 52, 57, 60, 64), 6.25, 0.9, 0.9),
        *strum((64, 60, 57, 52), 7.15, 0.3, 0.6, 0.008),
        *strum((43, 50, 55, 59, 62, 67), 7.5, 0.9, 0.9),
        *strum((40, 47, 52, 56, 59, 64), 8.4, 1.5, 1.0, 0.022),
    ]
    generator = np.random.default_rng(7)
    sound = render_notes(
        [*riff, *arpeggio, *mutes, *chords], INSTRUMENTS["electric neck"], sample_rate, 11.0, generator
    )
    # The hand lies down on the strings: the last second is silent, not merely quiet.
    fade = np.clip((10.0 - np.arange(len(sound)) / sample_rate) / 0.05, 0.0, 1.0)
    sound = sound * fade.astype(np.float32)
    return np.asarray(sound * np.float32(0.5 / np.abs(sound).max()), dtype=np.float32)
