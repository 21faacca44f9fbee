"""The pictures of sound that the published systems paint: what a pixel means, and the way back to a sound."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .mel import Inversion, MelScale, mel, sound, unmel

Float32 = npt.NDArray[np.float32]

_QUIET = 1e-12
PEAK = 0.5
"""Of a sound whose picture does not hold its level."""


class Picture(Protocol):
    """Sounds as pictures [channels, height, width]; a column, or a row, is `scale.hop` samples."""

    @property
    def scale(self) -> MelScale: ...

    def paint(self, audio: Float32) -> Float32:
        """Of audio [samples], cut or filled with silence to the picture's length."""
        ...

    def hear(self, picture: Float32, how: Inversion, seed: int) -> Float32:
        """Audio of a picture."""
        ...


@dataclass(frozen=True)
class DecibelPicture:
    """Of audio-diffusion: 22 050 Hz, 2048 samples every 512, `size` mel bands and `frames` columns.

    Powers against the loudest, down to -80 dB, as bytes 0 to 255, read as -1 to 1; [1, size, frames], the lowest band
    first. 64 x 64 is 1.49 s, 256 x 256 is 5.94 s. Griffin-Lim: 32 rounds. The level is not in the picture.
    """

    size: int
    frames: int
    rounds: int = 32
    top_db: float = 80.0

    @property
    def scale(self) -> MelScale:
        return MelScale(22050, 2048, 2048, 512, self.size, 0.0, 11025.0)

    def paint(self, audio: Float32) -> Float32:
        power = mel(fitted(audio, self.frames * self.scale.hop - 1), self.scale, 2).T
        level = 10.0 * np.log10(np.maximum(power, 1e-10) / max(float(power.max()), 1e-10))
        pixels = np.floor(np.clip((level + self.top_db) * 255.0 / self.top_db, 0.0, 255.0) + 0.5)
        return np.asarray(pixels / 127.5 - 1.0, dtype=np.float32)[None]

    def hear(self, picture: Float32, how: Inversion, seed: int) -> Float32:
        pixels = np.clip((picture[0] + 1.0) * 127.5, 0.0, 255.0)
        if how == "faithful":
            pixels = np.floor(pixels + 0.5)
        power = 10.0 ** ((pixels * self.top_db / 255.0 - self.top_db) / 10.0)
        if how == "repaired":  # its lowest step is silence, not a bed of noise at -80 dB
            power = np.where(pixels < 0.5, 0.0, power)
        magnitude = np.sqrt(unmel(np.asarray(power.T, dtype=np.float32), self.scale))
        return levelled(sound(magnitude, self.scale, self.frames * self.scale.hop, how, self.rounds, seed))


@dataclass(frozen=True)
class RootPicture:
    """Of Riffusion: 44.1 kHz, window 100 ms in an FFT of 400 ms every 10 ms, 512 mel bands (HTK) to 10 kHz.

    Magnitudes against the loudest, to the power 0.25, dark for loud, the highest band first, three equal channels:
    [3, bands, frames] within -1..1. 512 x 512 is 5.12 s. Griffin-Lim: 32 rounds.
    """

    frames: int = 512
    bands: int = 512
    rounds: int = 32
    power: float = 0.25
    sample_rate: int = 44100

    @property
    def scale(self) -> MelScale:
        step, rate = self.sample_rate // 100, self.sample_rate
        return MelScale(rate, 40 * step, 10 * step, step, self.bands, 0.0, 10000.0, htk=True, unit_area=False)

    def paint(self, audio: Float32) -> Float32:
        magnitude = mel(fitted(audio, self.frames * self.scale.hop - 1), self.scale, 1).T[::-1]
        shade = 255.0 - 255.0 * (magnitude / max(float(magnitude.max()), _QUIET)) ** self.power
        pixels = np.floor(np.clip(shade, 0.0, 255.0))
        return np.repeat(np.asarray(pixels / 127.5 - 1.0, dtype=np.float32)[None], 3, axis=0)

    def hear(self, picture: Float32, how: Inversion, seed: int) -> Float32:
        # As published the first channel alone is read; the mean of three that should be equal is less noisy.
        seen = picture[0] if how == "faithful" else picture.mean(axis=0)
        pixels = np.clip((seen + 1.0) * 127.5, 0.0, 255.0)
        if how == "faithful":
            pixels = np.floor(pixels + 0.5)
        magnitude = (1.0 - pixels[::-1] / 255.0) ** (1.0 / self.power)
        linear = unmel(np.asarray(magnitude.T, dtype=np.float32), self.scale)
        return levelled(sound(linear, self.scale, self.frames * self.scale.hop, how, self.rounds, seed))


@dataclass(frozen=True)
class LogPicture:
    """Of TANGO and AudioLDM: 16 kHz, 1024 samples every 160, 64 mel bands to 8 kHz, natural log of magnitudes.

    [1, frames, bands], time downwards; floored at log(1e-5). 1024 frames are 10.24 s. The level is in the picture:
    sounds come to a peak of 0.5 first. A vocoder makes the sound; `hear` is the way without one.
    """

    frames: int = 1024
    bands: int = 64
    rounds: int = 32

    @property
    def scale(self) -> MelScale:
        return MelScale(16000, 1024, 1024, 160, self.bands, 0.0, 8000.0)

    def paint(self, audio: Float32) -> Float32:
        flat = fitted(audio, self.frames * self.scale.hop - 1)
        flat = levelled(flat - np.float32(flat.mean()))
        return np.asarray(np.log(np.maximum(mel(flat, self.scale, 1), 1e-5)), dtype=np.float32)[None]

    def hear(self, picture: Float32, how: Inversion, seed: int) -> Float32:
        magnitude = np.exp(np.clip(picture[0], np.log(1e-5), 10.0))
        if how == "repaired":
            magnitude = np.where(picture[0] <= np.log(1e-5) + 0.05, 0.0, magnitude)
        linear = unmel(np.asarray(magnitude, dtype=np.float32), self.scale)
        return levelled(sound(linear, self.scale, self.frames * self.scale.hop, how, self.rounds, seed))


def fitted(audio: Float32, samples: int) -> Float32:
    """The first `samples`, or silence after the last: float32 [samples]."""
    return np.pad(audio[:samples], (0, max(0, samples - len(audio)))).astype(np.float32, copy=False)


def levelled(audio: Float32) -> Float32:
    """At a peak of PEAK; silence stays silent."""
    peak = float(np.abs(audio).max(initial=0.0))
    return np.asarray(audio * (PEAK / peak if peak > 1e-9 else 0.0), dtype=np.float32)
