"""How late one sound is beside another, to fractions of a sample: an impulse, and a maximum length sequence.

A maximum length sequence is noise whose circular correlation with itself is an impulse (Rife and Vanderkooy,
"Transfer-function measurement with maximum-length sequences", JAES 37, 1989): a long, soft signal tells as much as a
loud click, in noise, too. Fractions of a sample are the slope of the response's phase over frequency.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import max_len_seq

from ... import DuendeError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

LONGEST_S = 0.34
LEAD_S, TRAIL_S = 0.1, 0.1
NOISE_LEVEL, IMPULSE_LEVEL = 0.1, 0.5
HALF = 32
BAND = (0.005, 0.35)
"""Of the sample rate: what converters pass, and where a fraction of a sample is not a whole turn of phase."""
QUIET_DBFS = -80.0
CLIPPED = 0.999
CLIPPED_SAMPLES = 4
CLEAR_DB = 20.0
"""So far the response must stand above what is beside it."""


@dataclass(frozen=True)
class Delay:
    """samples: late by so many; gain_db and inverted: how it came back; clear_db: above what is beside it."""

    samples: float
    gain_db: float
    inverted: bool
    clear_db: float


@dataclass(frozen=True)
class Probe:
    """What is played: an impulse, then two rounds of a sequence. samples float32 [n]; where both begin."""

    samples: Float32
    impulse_at: int
    sequence_at: int
    sequence: Float64

    @property
    def longest(self) -> int:
        """No delay from here on is seen, in samples."""
        return len(self.sequence)


def make_probe(sample_rate: float) -> Probe:
    """For delays up to LONGEST_S."""
    bits = max(8, math.ceil(math.log2(LONGEST_S * sample_rate)))
    sequence = 2.0 * max_len_seq(bits)[0].astype(np.float64) - 1.0
    lead, trail = round(LEAD_S * sample_rate), round(TRAIL_S * sample_rate)
    impulse = np.zeros(len(sequence))
    impulse[0] = IMPULSE_LEVEL
    noise = NOISE_LEVEL * sequence
    parts = [np.zeros(lead), impulse, noise, noise, np.zeros(trail)]
    return Probe(np.concatenate(parts).astype(np.float32), lead, lead + len(sequence), sequence)


def by_sequence(probe: Probe, recorded: Float32) -> Delay:
    """From the second round of the sequence; recorded [n] as long as the probe.

    DuendeError, in plain words, where nothing or too much came back.
    """
    check_level(probe, recorded)
    count = probe.longest
    begin = probe.sequence_at + count
    heard = np.fft.rfft(recorded[begin : begin + count].astype(np.float64))
    # Circular: what is late by up to one round has come in from the round before.
    response = np.fft.irfft(heard * np.conj(np.fft.rfft(probe.sequence)), count) / (NOISE_LEVEL * count)
    return _delay(response)


def by_impulse(probe: Probe, recorded: Float32) -> Delay:
    """From the impulse. DuendeError where it does not stand out from the noise."""
    begin, count = probe.impulse_at, probe.longest
    return _delay(recorded[begin : begin + count].astype(np.float64) / IMPULSE_LEVEL)


def check_level(probe: Probe, recorded: Float32) -> None:
    """DuendeError where what came back is too soft or too loud to be measured."""
    heard = recorded[probe.sequence_at :].astype(np.float64)
    if not np.all(np.isfinite(heard)):
        raise DuendeError("the device delivered samples that are no numbers")
    level = 10.0 * math.log10(float(np.mean(heard**2)) + 1e-30)
    if level < QUIET_DBFS:
        raise DuendeError(
            f"nothing came back ({max(level, -200.0):.0f} dBFS): is the cable in, from the output to the input that "
            "are measured, and are both turned up?"
        )
    if np.count_nonzero(np.abs(recorded) >= CLIPPED) >= CLIPPED_SAMPLES:
        raise DuendeError("what came back is clipped: turn the input's gain or the output down")


def _delay(response: Float64) -> Delay:
    at = int(np.argmax(np.abs(response)))
    peak = float(response[at])
    near = np.arange(at - HALF, at + HALF) % len(response)
    beside = np.ones(len(response), dtype=bool)
    beside[near] = False
    floor = math.sqrt(float(np.mean(response[beside] ** 2)) + 1e-30)
    clear = 20.0 * math.log10(abs(peak) / floor) if peak else 0.0
    if clear < CLEAR_DB:
        raise DuendeError(
            f"what came back is not what was played ({clear:.0f} dB above the rest): is the cable in, and does nothing "
            "else play?"
        )
    gain = 10.0 * math.log10(float(np.sum(response[near] ** 2)))
    return Delay(at + _fraction(response[near], peak), gain, peak < 0.0, clear)


def _fraction(near: Float64, peak: float) -> float:
    """How far behind its middle a response [2 * HALF] lies, by the slope of its phase."""
    window = np.hanning(len(near) + 1)[:-1]
    spectrum = np.fft.rfft(np.roll(near * window * np.sign(peak), -HALF))
    turns = np.fft.rfftfreq(len(near))
    used = (turns >= BAND[0]) & (turns <= BAND[1])
    omega, weight = 2.0 * np.pi * turns[used], np.abs(spectrum[used]) ** 2
    # Within a sample of the middle: no turn of phase is more than half a one.
    return -float(np.sum(weight * omega * np.angle(spectrum[used])) / np.sum(weight * omega**2))
