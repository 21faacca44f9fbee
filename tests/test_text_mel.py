"""Sounds as pictures and back: what a pixel means, and how much of the sound is found again."""

import numpy as np
import numpy.typing as npt
import pytest

from duende.export.text.mel import MelScale, convergence, filters, inverse, mel, sound, spectrum, unmel
from duende.export.text.pictures import PEAK, DecibelPicture, LogPicture, Picture, RootPicture

Float32 = npt.NDArray[np.float32]

PICTURES: list[Picture] = [DecibelPicture(64, 64), RootPicture(64, 64, sample_rate=8000 * 5), LogPicture(64)]
SCALE = MelScale(22050, 2048, 2048, 512, 64, 0.0, 11025.0)


def chord(rate: int, samples: int) -> Float32:
    time = np.arange(samples) / rate
    tone = sum(np.sin(2.0 * np.pi * 220.0 * number * time) / number for number in range(1, 9))
    return np.asarray(0.2 * tone * np.exp(-1.5 * time), dtype=np.float32)


def test_slaneys_filters_have_one_area_and_htks_one_height() -> None:
    area = filters(SCALE).sum(axis=0) * SCALE.sample_rate / SCALE.n_fft
    np.testing.assert_allclose(area[20:], 1.0, rtol=0.05)
    scale = MelScale(44100, 17640, 4410, 441, 128, 0.0, 10000.0, htk=True, unit_area=False)
    assert 0.9 < filters(scale)[:, 30:].max(axis=0).min() <= 1.0
    assert filters(scale)[int(10010 / 2.5) :].max() == 0.0


@pytest.mark.train
def test_the_filters_are_those_of_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    theirs = librosa.filters.mel(sr=22050, n_fft=2048, n_mels=64).T
    np.testing.assert_allclose(filters(SCALE), theirs, atol=1e-6)
    scale = MelScale(44100, 17640, 4410, 441, 512, 0.0, 10000.0, htk=True, unit_area=False)
    theirs = librosa.filters.mel(sr=44100, n_fft=17640, n_mels=512, fmin=0, fmax=10000, htk=True, norm=None).T
    np.testing.assert_allclose(filters(scale), theirs, atol=1e-5)


def test_a_spectrum_gives_its_sound_back() -> None:
    scale = MelScale(8000, 1024, 512, 128, 32, 0.0, 4000.0)
    audio = chord(8000, 4000)
    np.testing.assert_allclose(inverse(spectrum(audio, scale), scale, 4000), audio, atol=1e-5)


def test_magnitudes_found_for_bands_have_those_bands() -> None:
    wanted = mel(chord(22050, 22050), SCALE, 1)
    found = unmel(wanted, SCALE)
    assert found.min() >= 0.0
    assert np.linalg.norm(found @ filters(SCALE) - wanted) < 0.05 * np.linalg.norm(wanted)


def test_the_repaired_inversion_is_nearer_than_the_faithful_one() -> None:
    audio = chord(22050, 22050)
    magnitude = np.abs(spectrum(audio, SCALE))
    apart = {
        how: convergence(sound(magnitude, SCALE, len(audio), how, 32, 1), magnitude, SCALE)
        for how in ("faithful", "repaired")
    }
    assert apart["repaired"] < 0.5 * apart["faithful"] < 0.2


@pytest.mark.parametrize("picture", PICTURES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("how", ["faithful", "repaired"])
def test_a_sound_seen_and_heard_again_has_the_same_picture(picture: Picture, how: str) -> None:
    samples = 64 * picture.scale.hop
    seen = picture.paint(chord(picture.scale.sample_rate, samples))
    heard = picture.hear(seen, how, 1)  # type: ignore[arg-type]
    assert len(heard) == samples
    assert np.abs(heard).max() == pytest.approx(PEAK)
    again = picture.paint(heard)
    other = picture.paint(np.random.default_rng(1).standard_normal(samples).astype(np.float32))
    span = seen.max() - seen.min()
    assert np.abs(again - seen).mean() < 0.1 * span
    assert np.abs(again - seen).mean() < 0.5 * np.abs(other - seen).mean()


def test_published_sizes() -> None:
    assert DecibelPicture(256, 256).paint(chord(22050, 1000)).shape == (1, 256, 256)
    wide = RootPicture()
    assert (wide.scale.n_fft, wide.scale.window, wide.scale.hop, wide.scale.bands) == (17640, 4410, 441, 512)
    assert LogPicture().paint(chord(16000, 1000)).shape == (1, 1024, 64)


def test_silence_is_painted_and_heard() -> None:
    for picture in PICTURES:
        seen = picture.paint(np.zeros(1000, dtype=np.float32))
        assert np.isfinite(seen).all()
        assert np.isfinite(picture.hear(seen, "repaired", 1)).all()


def test_the_quietest_pixel_is_silence_when_repaired() -> None:
    picture = DecibelPicture(64, 64)
    audio = np.zeros(64 * 512, dtype=np.float32)
    audio[:8192] = chord(22050, 8192)
    tail = slice(24000, 32000)
    seen = picture.paint(audio)
    faithful, repaired = (picture.hear(seen, how, 1)[tail] for how in ("faithful", "repaired"))
    assert np.abs(repaired).max() < 0.2 * np.abs(faithful).max()
