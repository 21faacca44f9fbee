"""Phases for free magnitudes: coherent tones, consistent noise, no memory asked for, and nothing that breaks it."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from duende.engine.phase import FLOOR, PhaseReconstruction
from memory import measure
from signals import noise, tone

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Complex64 = npt.NDArray[np.complex64]

SIZE, HOP = 1024, 128
BINS = SIZE // 2 + 1
WINDOW = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(SIZE) / SIZE)


def magnitudes(signal: npt.ArrayLike) -> Float64:
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(signal, dtype=np.float64), SIZE)[::HOP]
    return np.asarray(np.abs(np.fft.rfft(frames * WINDOW, axis=1)))


def reconstruct(wanted: Float64, step: int = 1) -> Complex64:
    log = np.log(wanted + 1e-9).astype(np.float32)[np.newaxis]
    out = np.zeros((1, len(wanted), BINS), dtype=np.complex64)
    phases = PhaseReconstruction(SIZE, HOP, 1)
    for start in range(0, len(wanted), step):
        phases.process(log[:, start : start + step], out[:, start : start + step])
    spectra: Complex64 = out[0]
    return spectra


def overlap(spectra: Complex64, heard: int) -> Float64:
    """Hear a Hann-shaped middle of so many samples of every Hann frame."""
    grains = np.fft.irfft(spectra, SIZE, axis=1)
    edge = (SIZE - heard) // 2
    window = np.zeros(SIZE)
    middle = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(heard) / heard)
    window[edge : edge + heard] = middle * (2.0 * HOP / heard) / np.maximum(WINDOW[edge : edge + heard], 1e-3)
    signal = np.zeros((len(spectra) - 1) * HOP + SIZE)
    for index, grain in enumerate(grains):
        signal[index * HOP : index * HOP + SIZE] += grain * window
    return signal


def convergence_db(wanted: Float64, heard: int = 2 * HOP) -> float:
    """Energy of the magnitudes that came out wrong, over that of the wanted ones."""
    got = magnitudes(overlap(reconstruct(wanted), heard))
    inner = slice(16, -16)
    return float(10.0 * np.log10(((got[inner] - wanted[inner]) ** 2).sum() / (wanted[inner] ** 2).sum()))


@pytest.mark.parametrize("hz", [440.0, 445.3, 937.5, 5000.0])
def test_a_steady_tone_stays_one(hz: float) -> None:
    assert convergence_db(magnitudes(tone(hz, 24_000))) <= -25.0


def test_partials_apart() -> None:
    partials = np.sum([tone(196.0 * number, 24_000, level_dbfs=-12.0 - 3.0 * number) for number in range(1, 9)], axis=0)
    assert convergence_db(magnitudes(partials)) <= -18.0


def test_noise_is_consistent_to_12_db(rng: np.random.Generator) -> None:
    assert convergence_db(magnitudes(noise(rng, 48_000))) <= -12.0


def test_a_short_heard_grain_costs_little(rng: np.random.Generator) -> None:
    wanted = magnitudes(noise(rng, 24_000))
    assert convergence_db(wanted, 2 * HOP) <= convergence_db(wanted, SIZE // 2) + 1.0


def test_it_beats_the_phases_of_no_method(rng: np.random.Generator) -> None:
    """Each bin going on at its own centre frequency is what every better method must beat."""
    wanted = magnitudes(tone(445.3, 24_000) + noise(rng, 24_000, level_dbfs=-40.0))
    number = np.arange(BINS)
    turns = np.arange(len(wanted))[:, None] * number * HOP / SIZE + 0.5 * number
    plain = (wanted * np.exp(2j * np.pi * turns)).astype(np.complex64)
    got = magnitudes(overlap(plain, 2 * HOP))[16:-16]
    naive = 10.0 * np.log10(((got - wanted[16:-16]) ** 2).sum() / (wanted[16:-16] ** 2).sum())
    assert convergence_db(wanted) <= naive - 10.0


def test_magnitudes_are_kept(rng: np.random.Generator) -> None:
    wanted = magnitudes(noise(rng, 4096))
    assert np.allclose(np.abs(reconstruct(wanted)), wanted, rtol=1e-4, atol=1e-7)


def test_frames_may_come_in_any_number(rng: np.random.Generator) -> None:
    wanted = magnitudes(noise(rng, 8192))
    whole = reconstruct(wanted, len(wanted))
    for step in (1, 3, 16):
        assert np.array_equal(reconstruct(wanted, step), whole)


def test_signals_do_not_mix(rng: np.random.Generator) -> None:
    wanted = [magnitudes(noise(rng, 4096)), magnitudes(tone(300.0, 4096))]
    log = np.log(np.stack(wanted) + 1e-9).astype(np.float32)
    out = np.zeros(log.shape, dtype=np.complex64)
    PhaseReconstruction(SIZE, HOP, 2).process(log, out)
    for row, one in zip(out, wanted, strict=True):
        assert np.allclose(row, reconstruct(one), rtol=1e-3, atol=1e-4)


def flow_along_slopes(level: Float64, before: Float64) -> list[int]:
    """The anchor of every bin, found one by one: climb to the louder neighbour until a bin may go on by itself."""
    anchors = []
    for start in range(BINS):
        at = start
        while 0 < at < BINS - 1 and max(level[at], before[at]) < max(level[at - 1], level[at + 1]):
            at += -1 if level[at - 1] >= level[at + 1] else 1
        anchors.append(at)
    return anchors


def test_anchors_are_found_by_climbing(rng: np.random.Generator) -> None:
    logs = np.log(magnitudes(noise(rng, 6000)) + 1e-9).astype(np.float32)
    phases = PhaseReconstruction(SIZE, HOP, 1)
    out = np.zeros((1, 1, BINS), dtype=np.complex64)
    phases.process(logs[np.newaxis, :1].copy(), out)
    for before, level in itertools.pairwise(logs):
        phases._find_anchors(level[np.newaxis])
        assert phases._below[0].tolist() == flow_along_slopes(level, before)
        phases.process(level[np.newaxis, np.newaxis].copy(), out)


def test_reset_begins_afresh_and_adopting_goes_on(rng: np.random.Generator) -> None:
    logs = np.log(magnitudes(noise(rng, 8192)) + 1e-9).astype(np.float32)[np.newaxis]
    first, second = np.zeros(logs.shape, dtype=np.complex64), np.zeros(logs.shape, dtype=np.complex64)
    one = PhaseReconstruction(SIZE, HOP, 1)
    one.process(logs.copy(), first)
    one.reset()
    one.process(logs.copy(), second)
    assert np.array_equal(first, second)
    other = PhaseReconstruction(SIZE, HOP, 1)
    other.adopt(one)
    one.process(logs.copy(), first)
    other.process(logs.copy(), second)
    assert np.array_equal(first, second)
    other.adopt(PhaseReconstruction(SIZE, HOP, 2))
    other.process(logs.copy(), second)
    assert np.isfinite(second).all()


def test_silence_is_next_to_nothing() -> None:
    out = np.zeros((1, 4, BINS), dtype=np.complex64)
    PhaseReconstruction(SIZE, HOP, 1).process(np.full((1, 4, BINS), -np.inf, dtype=np.float32), out)
    assert np.abs(out).max() <= 1.001 * np.exp(FLOOR)


def test_what_is_no_number_raises_nothing_and_is_forgotten(rng: np.random.Generator) -> None:
    phases = PhaseReconstruction(SIZE, HOP, 1)
    out = np.zeros((1, 1, BINS), dtype=np.complex64)
    with np.errstate(all="ignore"):
        for value in (np.nan, np.inf, 1e30, -1e30):
            phases.process(np.full((1, 1, BINS), value, dtype=np.float32), out)
    phases.reset()
    phases.process(rng.standard_normal((1, 1, BINS)).astype(np.float32), out)
    assert np.isfinite(out).all()


def test_a_frame_asks_for_no_memory(rng: np.random.Generator) -> None:
    phases = PhaseReconstruction(SIZE, HOP, 1)
    log = rng.standard_normal((1, 1, BINS)).astype(np.float32)
    out = np.zeros((1, 1, BINS), dtype=np.complex64)
    np.setbufsize(64)
    try:
        asked = measure(lambda: phases.process(log, out), 300)
    finally:
        np.setbufsize(8192)
    assert asked.transient_bytes < 2048, "less than a row of bins"
    assert asked.kept_array_bytes == 0
    assert asked.garbage == 0


@pytest.mark.parametrize(("size", "hop"), [(1023, 128), (1024, 512), (1024, 0)])
def test_sizes_that_do_not_fit(size: int, hop: int) -> None:
    with pytest.raises(ValueError, match="even and at least 4 hops"):
        PhaseReconstruction(size, hop, 1)
