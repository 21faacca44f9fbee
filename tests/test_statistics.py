"""The style statistics: they know timbre, not pitch; gradients survive silence; seeds decide the filters."""

import numpy as np
import pytest
import scipy.signal

pytest.importorskip("torch")

import torch

from duende.export.statistics import (
    Analysis,
    BandEnvelopes,
    LogSpectrogram,
    PowerSpectrum,
    envelope_distance,
    gram_distance,
    normalise_level,
    random_filters,
    zone_grams,
)

pytestmark = pytest.mark.train

RATE = 48000
BRIGHT_HZ, DARK_HZ = (1500.0, 5000.0), (300.0, 1500.0)


def melody(transpose: float, body_hz: tuple[float, float], seed: int = 440) -> torch.Tensor:
    """Three seconds of decaying harmonic notes through a fixed body resonance: float32 [1, samples]."""
    rng = np.random.default_rng(seed)
    out = np.zeros(3 * RATE)
    starts = np.arange(0, len(out), RATE // 4)
    for start, note in zip(starts, rng.integers(0, 25, len(starts)), strict=True):
        time = np.arange(len(out) - start) / RATE
        pitch_hz = 110.0 * 2.0 ** ((note + transpose) / 12.0)
        harmonics = np.arange(1, int(12000.0 / pitch_hz))
        for harmonic in harmonics:
            phase = np.sin(harmonic * harmonic)
            out[start:] += np.sin(2.0 * np.pi * harmonic * pitch_hz * time + phase) * np.exp(-time / 0.3) / harmonic
    band = scipy.signal.butter(2, body_hz, "band", fs=RATE)
    return normalise_level(torch.from_numpy(scipy.signal.lfilter(*band, out).astype(np.float32))[None])


def grams(audio: torch.Tensor, seed: int = 1) -> torch.Tensor:
    return zone_grams(LogSpectrogram()(audio), random_filters(seed))


@pytest.mark.parametrize("kind", ["grams", "envelopes"])
def test_transposing_moves_them_far_less_than_another_timbre(kind: str) -> None:
    original, transposed, other = melody(0, DARK_HZ), melody(3, DARK_HZ), melody(0, BRIGHT_HZ)
    if kind == "grams":
        target = grams(original)
        near, far = (float(gram_distance(grams(x), target)) for x in (transposed, other))
    else:
        envelopes = BandEnvelopes()
        target = envelopes(original)
        near, far = (float(envelope_distance(envelopes(x), target)) for x in (transposed, other))
    assert near < far / (25.0 if kind == "grams" else 8.0), (near, far)


def test_distances_of_equals_are_zero_and_silence_is_about_one() -> None:
    audio = melody(0, DARK_HZ)
    target = grams(audio)
    assert float(gram_distance(grams(audio), target)) == 0.0
    silence = float(gram_distance(torch.zeros_like(target), target))
    assert 0.6 < silence < 1.0
    envelopes = BandEnvelopes()(audio)
    assert float(envelope_distance(envelopes, envelopes)) == 0.0


@pytest.mark.parametrize("silent", [1.0, 0.5])
def test_gradients_are_finite_in_silence(silent: float) -> None:
    audio = torch.from_numpy(np.random.default_rng(1).standard_normal((2, RATE)).astype(np.float32))
    audio[:, : int(silent * RATE)] = 0.0
    audio.requires_grad_()
    level = normalise_level(audio)
    target = melody(0, DARK_HZ)
    loss = gram_distance(grams(level), grams(target)).sum()
    loss = loss + envelope_distance(BandEnvelopes()(level), BandEnvelopes()(target)).sum()
    (gradient,) = torch.autograd.grad(loss, audio)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_one_frame_has_no_deviation_and_a_finite_gradient() -> None:
    audio = torch.ones(1, 2048, requires_grad=True)
    envelopes = BandEnvelopes()(audio)
    assert torch.all(envelopes[0, 1] < 0.02)
    (gradient,) = torch.autograd.grad(envelopes.sum(), audio)
    assert torch.isfinite(gradient).all()


def test_descending_the_distance_works() -> None:
    target, envelopes = grams(melody(0, BRIGHT_HZ)), BandEnvelopes()
    log_gains = torch.zeros(24, requires_grad=True)
    spectrum = torch.fft.rfft(melody(5, DARK_HZ, seed=3)[:, :RATE])
    bins = torch.linspace(0, 23, spectrum.shape[-1])
    weights = torch.clamp(1.0 - (bins[None] - torch.arange(24.0)[:, None]).abs(), min=0.0)
    optimiser = torch.optim.Adam([log_gains], 0.2)
    losses = []
    for _ in range(8):
        audio = normalise_level(torch.fft.irfft(spectrum * torch.exp(log_gains @ weights)))
        loss = gram_distance(grams(audio), target).mean()
        optimiser.zero_grad()
        (log_gains.grad,) = torch.autograd.grad(loss, log_gains)
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0], losses
    assert torch.isfinite(envelopes(audio)).all()


def test_a_sine_reads_at_its_frequency_and_level() -> None:
    analysis = Analysis()
    time = torch.arange(RATE) / RATE
    for band in (60, 100, 180):
        tone = 0.1 * torch.sin(2.0 * torch.pi * analysis.centres_hz[band] * time)[None]
        level = LogSpectrogram(analysis)(tone)[0].mean(dim=1)
        assert int(level.argmax()) == band
        # RMS 0.0707 over the floor of 3e-4 is 5.46 nepers; the window's main lobe is shared between bands.
        assert float(level[band]) == pytest.approx(5.4, abs=0.35)


def test_filters_follow_their_seed() -> None:
    assert torch.equal(random_filters(5), random_filters(5))
    assert not torch.equal(random_filters(5), random_filters(6))


def test_level_is_normalised_and_silence_stays_silent() -> None:
    audio = torch.stack((3.0 * torch.ones(100), torch.zeros(100)))
    assert torch.allclose(normalise_level(audio).square().mean(dim=1).sqrt(), torch.tensor([0.1, 0.0]))


def test_too_short_audio_is_refused() -> None:
    with pytest.raises(ValueError, match="4095 samples"):
        LogSpectrogram()(torch.zeros(1, 4095))
    with pytest.raises(ValueError, match="too small"):
        zone_grams(LogSpectrogram()(torch.zeros(1, 4096)), random_filters(1))
    with pytest.raises(ValueError, match="half the sample rate"):
        Analysis(sample_rate=16000)


@pytest.mark.parametrize("bins", [None, 5, 9])
def test_power_spectra_and_their_gradients_are_those_of_the_definition(bins: int | None) -> None:
    generator = torch.Generator().manual_seed(3)
    window = torch.rand(16, generator=generator, dtype=torch.float64)
    audio = torch.randn(2, 40, generator=generator, dtype=torch.float64, requires_grad=True)
    power = PowerSpectrum(window, 8, bins)
    wanted = torch.fft.rfft(audio.unfold(-1, 16, 8) * window)[..., :bins].abs().square()
    assert torch.allclose(power(audio), wanted, rtol=1e-12)
    assert torch.autograd.gradcheck(power, (audio,))
