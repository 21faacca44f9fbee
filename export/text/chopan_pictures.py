"""ChopAN's pictures: log spectrograms of one second at 16 kHz, 256 x 64, each scaled to 0..1 by its own range."""

import numpy as np
import numpy.typing as npt
import soxr

from ..teachers.inversion import from_slopes, griffin_lim
from ..teachers.spectra import Analysis, stft

Float32 = npt.NDArray[np.float32]

RATE, SIZE, HOP = 16000, 512, 256
HEIGHT, WIDTH = 256, 64
FLOOR_DB = -80.0
ROUNDS = 60
_ANALYSIS = Analysis(RATE, SIZE, HOP)
_FINE = Analysis(RATE, SIZE, HOP // 2)
SAMPLES = (WIDTH - 1) * HOP
"""What a picture of frames centred on their samples reaches over."""

SECONDS = SAMPLES / RATE


def picture_of(audio: Float32, sample_rate: int) -> tuple[Float32, float, float]:
    """Picture [256, 64] of the first 1.01 s of audio [samples], lowest bin first, and its least and most in dB.

    Hann 512 every 256, amplitude in dB floored 80 under the most; the bin at 8 kHz is left out, as in Velardo's code.
    """
    if sample_rate != RATE:
        audio = soxr.resample(audio, sample_rate, RATE).astype(np.float32)
    padded = np.zeros(SAMPLES + 1, dtype=np.float32)
    padded[: min(len(audio), len(padded))] = audio[: len(padded)]
    level = 20.0 * np.log10(np.maximum(np.abs(stft(padded, _ANALYSIS))[:WIDTH, :HEIGHT], 1e-6))
    most = float(level.max())
    level = np.maximum(level, most + FLOOR_DB)
    least = float(level.min())
    return ((level - least) / max(most - least, 1e-6)).T.astype(np.float32), least, most


def audio_of(picture: Float32, least: float, most: float, inversion: str, seed: int) -> Float32:
    """Audio [16128] of a picture: "griffin-lim" (as published) or "slopes".

    "slopes" finds the phases from the magnitudes' own slopes (RTPGHI, `engine.phase`) at twice the frames, and takes
    the floor for silence.
    """
    level = np.concatenate([picture, picture[-1:]]).T.astype(np.float64) * (most - least) + least
    if inversion == "griffin-lim":
        magnitude = (10.0 ** (level / 20.0)).astype(np.float32)
        return griffin_lim(magnitude, _ANALYSIS, SAMPLES, ROUNDS, seed)
    places = np.arange(2 * WIDTH) / 2.0
    before = np.minimum(places.astype(int), WIDTH - 1)
    share = (places - before)[:, None]
    fine = level[before] * (1.0 - share) + level[np.minimum(before + 1, WIDTH - 1)] * share
    # What lies near the floor is the floor: the network's small errors there would be a bed of noise.
    fine = np.where(fine < least + 20.0, least + 20.0 - 4.0 * (least + 20.0 - fine), fine)
    return from_slopes((10.0 ** (fine / 20.0)).astype(np.float32), _FINE, SAMPLES)
