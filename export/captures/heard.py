"""How loud a sound is heard to be: ITU-R BS.1770-4 for one channel at 48 kHz, without the training libraries."""

import numpy as np
import numpy.typing as npt
import scipy.signal

RATE = 48000
SILENT_LUFS = -70.0
BLOCK_S, STEP_S = 0.4, 0.1
# The two stages of the K weighting, as the recommendation's tables 1 and 2 give them for 48 kHz.
_K_WEIGHTING = (
    (1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585),
    (1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621),
)


def loudness_lufs(samples: npt.ArrayLike) -> float:
    """Integrated loudness of mono samples [n] at RATE; -inf where no 0.4 s of it are louder than -70 LUFS.

    What is quieter than that, or than the mean less 10, does not count: rests do not make a phrase quieter.
    """
    block, step = round(BLOCK_S * RATE), round(STEP_S * RATE)
    sound = np.asarray(samples, dtype=np.float64)
    weighted = scipy.signal.sosfilt(_K_WEIGHTING, np.pad(sound, (0, max(0, block - len(sound)))))
    sums = np.concatenate([[0.0], np.cumsum(weighted**2)])
    starts = np.arange(0, len(weighted) - block + 1, step)
    power = (sums[starts + block] - sums[starts]) / block
    counted = power[_lufs(power) > SILENT_LUFS]
    if not len(counted):
        return float("-inf")
    counted = counted[_lufs(counted) > _lufs(counted.mean()) - 10.0]
    return float(_lufs(counted.mean()))


def _lufs(power: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.asarray(-0.691 + 10.0 * np.log10(np.maximum(power, 1e-20)))
