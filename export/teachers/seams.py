"""What windows leave in a sound: steps where they meet, and a pattern that comes back in every one of them.

Both measures read levels in ERB bands, in dB over a floor 60 dB under the loudest, so they do not depend on the sound's
level; a sound that was never cut reads about 0 in both, but for chance and its own rhythm: compare with the input's.
"""

import numpy as np
import numpy.typing as npt
import scipy.fft

from ...engine.bands import erb_bands

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

FRAME_S, HOPS = 0.02, 4
FLOOR_DB = 60.0
BANDS = 32


def seam_step_db(audio: Float32, sample_rate: int, period: float, offset: float = 0.0, reach: float = 0.0) -> float:
    """How much more the band levels change across window borders than elsewhere, in dB.

    audio: mono [samples]. period, offset: borders lie at offset + k * period samples, k = 1, 2, ... . reach: samples
    over which a border is smeared (the transform's window). A step is the root mean square over bands of the
    difference between the 20 ms before and behind. 0: borders are places like all others.
    Raises ValueError for a sound of less than two windows.
    """
    levels, hop = _levels_db(audio, sample_rate)
    apart = HOPS + round(reach / hop)
    steps = np.sqrt(np.mean((levels[apart:] - levels[:-apart]) ** 2, axis=1))
    places = (np.arange(len(steps)) + 0.5 * (apart + HOPS)) * hop
    borders = np.arange(offset + period, len(audio), period)
    borders = borders[(borders > places[0]) & (borders < places[-1])]
    if len(borders) == 0:
        raise ValueError(f"{len(audio)} samples hold no border between windows of {period:g}")
    near = np.abs(places[:, None] - borders[None, :]).argmin(axis=0)
    away = np.abs(places[:, None] - borders[None, :]).min(axis=1) > 0.25 * period
    return float(steps[near].mean() - steps[away].mean())


def window_rate_db(audio: Float32, sample_rate: int, period: float) -> float:
    """Energy of the band envelopes at the window rate and its multiples, in dB over what chance puts there.

    audio: mono [samples]; period of the windows in samples. The envelopes are cut into periods; by Parseval the
    energy at all multiples of the rate is that of the mean period, and of n unlike periods it is 1/n of all. Means
    over bands, weighted by their energy. About 0: nothing comes back; 10 log10(n): all windows are alike.
    Raises ValueError for a sound of less than two windows.
    """
    levels, hop = _levels_db(audio, sample_rate)
    count = int(len(levels) * hop / period)
    if count < 2:
        raise ValueError(f"{len(audio)} samples hold {count} windows of {period:g}: two are needed")
    points = max(2, round(period / hop))
    places = (np.arange(count)[:, None] + np.arange(points)[None, :] / points) * period / hop
    below = np.minimum(places.astype(int), len(levels) - 2)
    share = (places - below)[..., None]
    periods = levels[below] * (1.0 - share) + levels[below + 1] * share
    periods -= periods.mean(axis=(0, 1))
    everything = np.mean(periods**2)
    repeated = np.mean(periods.mean(axis=0) ** 2)
    return float(10.0 * np.log10((repeated * count + 1e-9) / (everything + 1e-9)))


def _levels_db(audio: Float32, sample_rate: int) -> tuple[Float64, float]:
    """Levels in dB above the floor [frames, bands], and the hop in samples; frame t begins at sample t * hop."""
    size = HOPS * round(FRAME_S * sample_rate / HOPS)
    hop = size // HOPS
    if len(audio) < 2 * size:
        raise ValueError(f"{len(audio)} samples are too few to look for windows in: give {2 * size}")
    bands = erb_bands(sample_rate, size, BANDS, 100.0, min(10000.0, 0.45 * sample_rate))
    frames = np.lib.stride_tricks.sliding_window_view(audio.astype(np.float64), size)[::hop]
    power = np.abs(scipy.fft.rfft(frames * np.hanning(size + 1)[:-1], axis=1)[:, : bands.bins]) ** 2 @ bands.pooling
    floor = max(float(power.max()), 1e-30) * 10.0 ** (-FLOOR_DB / 10.0)
    return np.asarray(10.0 * np.log10(power / floor + 1.0)), float(hop)
