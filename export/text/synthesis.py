"""Instruments of our own, drawn at random for a source, a family and qualities: what the small NSynth-shaped set holds.

Not an imitation of recordings: a plain model of each family (slope, odd and even partials, formants, envelope, noise),
and one audible effect for every quality.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.fft

from .additive import HELD_S, LENGTH_S
from .vocabulary import QUALITIES

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

MOST_PARTIALS = 64
LOUDNESS_DBFS = -20.0
_CONTRARY = (
    ("bright", "dark"),
    ("fast_decay", "long_release"),
    ("fast_decay", "nonlinear_env"),
    ("percussive", "nonlinear_env"),
)


@dataclass(frozen=True)
class _Family:
    """slope: dB an octave. even: gain of even partials in dB. attack, decay (0: none), release in s. noise: dB."""

    slope: float
    even: float
    attack: float
    decay: float
    release: float
    noise: float
    inharmonic: float = 0.0
    vibrato: float = 0.0
    formants: tuple[float, ...] = ()


_FAMILIES = {
    "bass": _Family(-11.0, 0.0, 0.006, 1.2, 0.08, -50.0, 1e-5),
    "brass": _Family(-5.0, 0.0, 0.06, 0.0, 0.10, -45.0, formants=(1200.0,)),
    "flute": _Family(-16.0, -4.0, 0.08, 0.0, 0.12, -26.0, vibrato=0.003),
    "guitar": _Family(-7.0, -1.0, 0.003, 0.9, 0.15, -46.0, 4e-5),
    "keyboard": _Family(-9.0, 0.0, 0.004, 1.0, 0.12, -52.0, 1.5e-4),
    "mallet": _Family(-14.0, -14.0, 0.002, 0.35, 0.30, -44.0, 1.5e-3),
    "organ": _Family(-6.0, 3.0, 0.012, 0.0, 0.05, -60.0),
    "reed": _Family(-5.0, -16.0, 0.04, 0.0, 0.09, -38.0, formants=(1500.0,)),
    "string": _Family(-6.0, -1.0, 0.12, 0.0, 0.20, -34.0, vibrato=0.004, formants=(450.0, 2500.0)),
    "synth_lead": _Family(-4.0, 0.0, 0.008, 0.0, 0.15, -60.0),
    "vocal": _Family(-8.0, 0.0, 0.10, 0.0, 0.15, -36.0, vibrato=0.006, formants=(600.0, 1100.0, 2700.0)),
}


@dataclass(frozen=True)
class Instrument:
    """One instrument: the words that describe it, and the draw that makes it itself."""

    source: str
    family: str
    qualities: tuple[str, ...]
    seed: int

    def play(self, pitch: int, velocity: int, sample_rate: int, release_s: float | None = None) -> Float32:
        """A note [4 s], let go after 3: MIDI pitch and velocity 1 to 127; same again for the same instrument.

        release_s: time in which it then falls by 100 dB, else the instrument's own.
        """
        own = np.random.default_rng(self.seed)
        shape = _Shape.drawn(self, own)
        if release_s is not None:
            shape = replace(shape, release=4.0 * release_s / np.log(1e5))
        rng = np.random.default_rng((self.seed, pitch, velocity))
        return shape.note(pitch, velocity, sample_rate, rng)


@dataclass(frozen=True, kw_only=True)
class _Shape(_Family):
    """What one instrument makes of its family, and what its source and its qualities add."""

    ripple: Float64
    drive: float
    click: float
    swell: float
    second: float
    beat_hz: float
    beat_depth: float
    reverb_s: float
    wet: float
    comb: float
    cut_hz: float
    detune: float

    @classmethod
    def drawn(cls, instrument: Instrument, rng: np.random.Generator) -> "_Shape":
        base, has = _FAMILIES[instrument.family], frozenset(instrument.qualities)
        spread = rng.uniform(-1.0, 1.0, 8)
        slope = base.slope + 1.5 * spread[0]
        slope += rng.uniform(3.5, 6.0) * ("bright" in has) - rng.uniform(5.0, 8.0) * ("dark" in has)
        decay = base.decay * 1.4 ** spread[1]
        if "fast_decay" in has:
            decay = rng.uniform(0.06, 0.16)
        elif "percussive" in has and not decay:
            decay = rng.uniform(0.4, 0.8)
        release = rng.uniform(0.8, 1.6) if "long_release" in has else base.release * 1.3 ** spread[2]
        attack = 0.002 if "percussive" in has else base.attack * 1.4 ** spread[3]
        noise, ripple, vibrato = base.noise + 4.0 * spread[4], 2.5, base.vibrato
        drive, comb, cut_hz, detune, formants = 0.0, 0.0, 0.0, 0.0, base.formants
        if instrument.source == "electronic":
            # A pick-up, a little drive, a loudspeaker.
            slope, noise, ripple, vibrato, drive = slope + 1.0, noise - 12.0, 1.5, 0.3 * vibrato, 1.2
            comb, cut_hz = rng.uniform(0.08, 0.2), rng.uniform(3500.0, 5000.0)
        elif instrument.source == "synthetic":
            # A machine: no breath, no body, every partial in its place, two oscillators that beat.
            slope, noise, ripple, vibrato, formants = slope + 2.0, -80.0, 0.3, 0.0, ()
            detune = rng.uniform(0.0015, 0.004)
        return cls(
            slope=slope,
            even=base.even * (1.0 + 0.3 * spread[5]),
            attack=attack,
            decay=decay,
            release=release,
            noise=noise,
            inharmonic=0.0 if instrument.source == "synthetic" else base.inharmonic,
            vibrato=vibrato,
            formants=tuple(hz * 1.12 ** spread[6] for hz in formants),
            ripple=ripple * rng.standard_normal(MOST_PARTIALS),
            drive=rng.uniform(6.0, 14.0) if "distortion" in has else drive,
            click=rng.uniform(-16.0, -8.0) if "percussive" in has else -90.0,
            swell=rng.uniform(0.5, 1.5) if "nonlinear_env" in has else 0.0,
            second=float(rng.choice([1.1892, 1.2599, 1.4142])) if "multiphonic" in has else 0.0,
            beat_hz=rng.uniform(3.98, 4.02),  # eighth notes at 120 a minute
            beat_depth=rng.uniform(0.7, 0.95) if "tempo-synced" in has else 0.0,
            reverb_s=rng.uniform(1.0, 2.2),
            wet=rng.uniform(0.35, 0.6) if "reverb" in has else 0.0,
            comb=comb,
            cut_hz=cut_hz,
            detune=detune,
        )

    def note(self, pitch: int, velocity: int, sample_rate: int, rng: np.random.Generator) -> Float32:
        samples = round(LENGTH_S * sample_rate)
        time = np.arange(samples) / sample_rate
        f0 = 440.0 * 2.0 ** ((pitch - 69) / 12.0)
        audio = self._partials(f0, velocity, time, sample_rate, rng)
        if self.second:
            audio = audio + 0.6 * self._partials(f0 * self.second, velocity, time, sample_rate, rng)
        if self.detune:
            audio = audio + 0.7 * self._partials(f0 * (1.0 + self.detune), velocity, time, sample_rate, rng)
        audio /= np.sqrt(np.mean(audio[: sample_rate // 2] ** 2)) + 1e-9
        white = rng.standard_normal(samples)
        envelope = self._envelope(time)
        audio += 10.0 ** (self.noise / 20.0) * white * envelope
        audio += 10.0 ** (self.click / 20.0) * 4.0 * white * np.exp(-time / 0.012)
        if self.drive:
            audio = np.tanh(self.drive * audio) / np.tanh(self.drive)
            if self.drive > 2.0:
                audio *= envelope**0.5
        if self.beat_depth:
            audio *= 1.0 - self.beat_depth * (0.5 - 0.5 * np.cos(2.0 * np.pi * self.beat_hz * time))
        if self.wet:
            audio = self._in_a_hall(audio, time, rng)
        audio *= np.minimum(1.0, (LENGTH_S - time) / 0.02)
        loud = np.sqrt(np.mean(audio[: sample_rate // 2] ** 2)) + 1e-9
        level = LOUDNESS_DBFS + 12.0 * (velocity / 127.0 - 1.0)
        audio *= 10.0 ** (level / 20.0) / loud
        return np.asarray(audio * min(1.0, 0.99 / np.abs(audio).max()), dtype=np.float32)

    def _envelope(self, time: Float64) -> Float64:
        """Of the whole note: attack (or swell), decay, release."""
        rise = np.minimum(1.0, time / self.attack)
        if self.swell:
            rise = rise * (0.08 + 0.92 * np.minimum(1.0, time / self.swell) ** 2)
        fall = np.exp(-time / self.decay) if self.decay else 1.0
        return rise * fall * np.exp(-np.maximum(0.0, time - HELD_S) / (0.25 * self.release))

    def _partials(self, f0: float, velocity: int, time: Float64, sample_rate: int, rng: np.random.Generator) -> Float64:
        bend = 1.0 + self.vibrato * np.sin(2.0 * np.pi * rng.uniform(4.8, 6.2) * time) * np.minimum(1.0, time)
        cycles = np.cumsum(bend) / sample_rate
        common = self._envelope(time).astype(np.float32)
        out = np.zeros(len(time), dtype=np.float32)
        slope = self.slope - 3.0 * (1.0 - velocity / 127.0)
        for number in range(1, MOST_PARTIALS + 1):
            hz = number * f0 * np.sqrt(1.0 + self.inharmonic * number**2)
            if hz > 0.45 * sample_rate:
                break
            level = slope * np.log2(number) + self.even * (number % 2 == 0) + self.ripple[number - 1]
            level += sum(9.0 * np.exp(-((np.log2(hz / formant) / 0.4) ** 2)) for formant in self.formants)
            if self.comb:
                level += 20.0 * np.log10(np.abs(np.sin(np.pi * number * self.comb)) + 0.03)
            if self.cut_hz:
                level -= 6.0 * np.log2(1.0 + (hz / self.cut_hz) ** 4)
            if level < -75.0:
                continue
            wave = np.sin((2.0 * np.pi * ((hz * cycles + rng.uniform()) % 1.0)).astype(np.float32))
            if self.decay:
                wave *= np.exp(-time * 0.12 * (number - 1) / self.decay).astype(np.float32)
            out += np.float32(10.0 ** (level / 20.0)) * wave
        return (out * common).astype(np.float64)

    def _in_a_hall(self, audio: Float64, time: Float64, rng: np.random.Generator) -> Float64:
        """With exponentially fading noise behind it, its highs fading sooner."""
        tail = rng.standard_normal(len(time)) * np.exp(-6.9 * time / self.reverb_s)
        tail = np.convolve(tail, np.ones(3) / 3.0, mode="same")
        tail /= np.sqrt(np.sum(tail**2))
        size = scipy.fft.next_fast_len(2 * len(audio), real=True)
        behind = scipy.fft.irfft(scipy.fft.rfft(audio, size) * scipy.fft.rfft(tail, size), size)[: len(audio)]
        return (1.0 - self.wet) * audio + 2.0 * self.wet * behind


def drawn_instruments(
    count: int,
    seed: int,
    families: Sequence[str],
    sources: Sequence[str],
    without: Collection[tuple[str, str]] = (),
) -> list[Instrument]:
    """So many instruments: families in turn, sources in turn, up to three qualities each that do not contradict.

    without: pairs of source and family that are passed over; a lead is always synthetic.
    """
    rng = np.random.default_rng(seed)
    pairs = [("synthetic" if one == "synth_lead" else source, one) for source in sources for one in families]
    pairs = [pair for pair in pairs if pair not in without]
    drawn = []
    for number in range(count if pairs else 0):
        source, family = pairs[number % len(pairs)]
        wanted = [QUALITIES[place] for place in rng.permutation(len(QUALITIES))[: int(rng.integers(0, 4))]]
        for one, other in _CONTRARY:
            if one in wanted and other in wanted:
                wanted.remove(other)
        qualities = tuple(word for word in QUALITIES if word in wanted)
        drawn.append(Instrument(source, family, qualities, int(rng.integers(0, 2**31))))
    return drawn
