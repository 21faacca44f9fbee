"""Signals made from a sound by the engine (`engine.excitation`): its saturations, and noise at its level."""

import numpy as np
import numpy.typing as npt
import scipy.signal

from ...engine.excitation import Excitations, pre_emphasis
from ...engine.spec import rate_factor

Float32 = npt.NDArray[np.float32]

_QUANTUM, _QUANTA = 128, 64


def sources_of(audio: Float32, sample_rate: int, names: tuple[str, ...]) -> Float32:
    """The engine's excitations by name, without their pre-emphasis: float32 [names, samples], aligned with the audio.

    audio: mono [samples]. sample_rate: 44.1 to 96 kHz.
    """
    if not names:
        return np.zeros((0, len(audio)), dtype=np.float32)
    step = _QUANTUM * _QUANTA
    # Levels that were 0 before the first sample would make a click of it.
    run_in = audio[min(step, len(audio) - 1) : 0 : -1]
    whole = np.concatenate((run_in, audio))
    padded = np.pad(whole, (0, -len(whole) % step)).astype(np.float32)
    engine = Excitations(names, sample_rate, _QUANTUM, 1, _QUANTA)
    blocks = [engine.process(block[None])[0].copy() for block in padded.reshape(-1, step)]
    feedback = np.zeros(rate_factor(sample_rate) + 1)
    feedback[0], feedback[-1] = 1.0, -pre_emphasis(sample_rate)
    plain = scipy.signal.lfilter([1.0], feedback, np.concatenate(blocks, axis=1), axis=1)
    return np.asarray(plain[:, len(run_in) : len(whole)], dtype=np.float32)
