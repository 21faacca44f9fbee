"""The samples of a sound file, read piece by piece within bounds: what its head says of its length is not believed."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from .. import DuendeError

Float32 = npt.NDArray[np.float32]

RATES = (1000, 768000)
MOST_CHANNELS = 32
MOST_SAMPLES = 2**28
"""Of all channels together: half an hour of stereo at 48 kHz, or 1 GiB."""
PIECE = 2**16


def read_samples(path: Path, longest_s: float | None = None) -> tuple[Float32, int]:
    """Samples, float32 [samples, channels], and rate (Hz) of a file that libsndfile reads.

    longest_s: a little more than so much is read, enough to see that it is longer. DuendeError for what is no sound
    file, of a rate out of RATES, and above MOST_CHANNELS or MOST_SAMPLES.
    """
    if not path.is_file():
        raise DuendeError(f"{path}: no such file")
    try:
        with soundfile.SoundFile(path) as file:
            rate, channels = int(file.samplerate), int(file.channels)
            if not RATES[0] <= rate <= RATES[1]:
                raise DuendeError(f"{path}: a sample rate of {rate} Hz is out of range: {RATES[0]} to {RATES[1]} Hz")
            if not 1 <= channels <= MOST_CHANNELS:
                raise DuendeError(f"{path}: {channels} channels: mix it down to {MOST_CHANNELS} or fewer")
            pieces = [np.zeros((0, channels), dtype=np.float32)]
            count = 0
            most = MOST_SAMPLES // channels
            wanted = most if longest_s is None else min(most, round(longest_s * rate) + PIECE)
            while count < wanted:
                # A short piece comes at the end, or where the file is broken off.
                piece = file.read(min(PIECE, wanted - count), dtype="float32", always_2d=True)
                if not len(piece):
                    break
                pieces.append(piece)
                count += len(piece)
    except (soundfile.SoundFileError, OSError, RuntimeError, ValueError, AssertionError) as error:
        raise DuendeError(f"{path}: not a readable sound file ({str(error).strip().rstrip('.')})") from error
    if count >= most:
        raise DuendeError(
            f"{path}: {count / rate:.0f} s or more in {channels} channels is too much: cut it, or mix it down"
        )
    return np.concatenate(pieces), rate
