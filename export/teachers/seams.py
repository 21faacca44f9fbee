"""What windows leave in a sound: steps where they meet, and a pattern that comes back in every one of them.

Both read levels in ERB bands, in dB over a floor 60 dB under the loudest, so the sound's own level does not count. A
sound that was never cut reads what chance and its own rhythm put there: compare with the input's.
"""

import numpy as np
import numpy.typing as npt
import scipy.fft

from ...engine.bands import erb_bands

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

FRAME_S, STEP_FRAME_S, STEP_S = 0.02, 0.005, 0.02
HOPS = 4
FLOOR_DB = 60.0
BANDS = 32


def seam_step_db(audio: Float32, sample_rate: int, period: float) -> float:
    """How much more the band levels change at window borders than near them, in dB.

    audio: mono [samples]. period: borders lie at its whole multiples, in samples. A change is the mean over bands of
    both differences, 20 ms back and 20 ms ahead, of levels in 5 ms: it sees a step as well as a click. The largest
    within a frame's hop of the border counts, over the median of the half windows on both sides; mean over borders.
    Raises ValueError for a sound of less than two windows and a half.
    """
    levels, hop = _levels_db(audio, sample_rate, STEP_FRAME_S)
    apart = round(STEP_S * sample_rate / hop)
    changes = np.abs(levels[apart:-apart] - levels[: -2 * apart]) + np.abs(levels[2 * apart :] - levels[apart:-apart])
    steps = changes.mean(axis=1)
    places = (np.arange(len(steps)) + apart + 0.5 * HOPS) * hop
    borders = np.arange(period, len(audio), period)
    borders = borders[(borders > places[0] + 0.5 * period) & (borders < places[-1] - 0.5 * period)]
    if len(borders) == 0:
        raise ValueError(f"{len(audio)} samples hold no border between whole windows of {period:g}")
    excess = []
    for border in borders:
        distance = np.abs(places - border)
        around = steps[(distance > 0.15 * period) & (distance < 0.5 * period)]
        excess.append(steps[distance <= hop].max() - np.median(around))
    return float(np.mean(excess))


def window_rate_db(audio: Float32, sample_rate: int, period: float) -> float:
    """Energy of the band envelopes at the window rate and its multiples, in dB over what chance puts there.

    audio: mono [samples]; period of the windows in samples. The envelopes are cut into periods; by Parseval the
    energy at all multiples of the rate is that of the mean period, and of n unlike periods it is 1/n of all. Means
    over bands, weighted by their energy. About 0: nothing comes back; 10 log10(n): all windows are alike.
    Raises ValueError for a sound of less than two windows.
    """
    levels, hop = _levels_db(audio, sample_rate, FRAME_S)
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


def _levels_db(audio: Float32, sample_rate: int, frame_s: float) -> tuple[Float64, float]:
    """Levels in dB above the floor [frames, bands], and the hop in samples; frame t begins at sample t * hop."""
    size = HOPS * round(frame_s * sample_rate / HOPS)
    hop = size // HOPS
    if len(audio) < 16 * size:
        raise ValueError(f"{len(audio)} samples are too few to look for windows in: give {16 * size}")
    bands = erb_bands(sample_rate, size, BANDS, 200.0, min(10000.0, 0.45 * sample_rate))
    frames = np.lib.stride_tricks.sliding_window_view(audio.astype(np.float64), size)[::hop]
    power = np.abs(scipy.fft.rfft(frames * np.hanning(size + 1)[:-1], axis=1)[:, : bands.bins]) ** 2 @ bands.pooling
    floor = max(float(power.max()), 1e-30) * 10.0 ** (-FLOOR_DB / 10.0)
    return np.asarray(10.0 * np.log10(power / floor + 1.0)), float(hop)
