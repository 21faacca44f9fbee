"""A phrase in the place of the player: a device whose input is played over and over, so that nobody has to play."""

import numpy as np

from .bench.paced import playing
from .device import Callback, Device, Float32

PHRASE_S = 4.0


class PhraseDevice:
    """A device that is given tones in the place of what its input delivers; its output goes where it always goes."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.sample_rate, self.block, self.max_block = device.sample_rate, device.block, device.max_block
        self.inputs, self.outputs = device.inputs, device.outputs
        samples = playing(self.sample_rate, round(PHRASE_S * self.sample_rate), self.inputs)
        self._length, self._at = len(samples), 0
        # So long again that a block may begin anywhere.
        self._samples = np.concatenate([samples, np.resize(samples, (self.max_block, self.inputs))])
        self.latency_ms: float | None = None
        self._callback: Callback | None = None

    @property
    def running(self) -> bool:
        """Whether the device delivers."""
        return self._device.running

    def start(self, callback: Callback) -> None:
        """Start the device."""
        self._callback = callback
        self._device.start(self._deliver)
        self.latency_ms = self._device.latency_ms

    def stop(self) -> None:
        """Stop the device."""
        self._device.stop()

    def _deliver(self, block: Float32, out: Float32, input_xrun: bool, output_xrun: bool) -> None:
        at, count = self._at, len(out)
        self._at = (at + count) % self._length
        if self._callback is not None:
            # No input of the device's is lost that anybody would hear.
            self._callback(self._samples[at : at + count], out, False, input_xrun or output_xrun)
