"""The demonstration: the built-in phrase through a factory style, with a picture and the figures of this machine."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from ..engine.bench import BlockTimes, bench_block, real_time_factor
from ..engine.device import ArrayDevice
from ..engine.host import Host, LatencyReport
from ..engine.preset import load_rig
from ..engine.render import render_file
from ..presets.library import Entry
from .pictures import read_style_picture, spectrogram_figure
from .pluck import demo_phrase

Float32 = npt.NDArray[np.float32]

SAMPLE_RATE = 48000
BLOCK = 128


@dataclass(frozen=True)
class DemoReport:
    """Files written, delays by part, real-time factor offline, and block times at 128 frames."""

    files: list[Path]
    latency: LatencyReport
    real_time_factor: float
    times: BlockTimes


def run_demo(entry: Entry, folder: Path, seconds: float = 4.0) -> DemoReport:
    """Write input.wav, output.wav and spectrogram.png to folder; measure for some seconds of real time."""
    folder.mkdir(parents=True, exist_ok=True)
    source, target, picture = folder / "input.wav", folder / "output.wav", folder / "spectrogram.png"
    phrase = demo_phrase(SAMPLE_RATE)
    soundfile.write(source, phrase, SAMPLE_RATE, subtype="PCM_24")
    render_file(load_rig(entry), source, target)
    output, _ = soundfile.read(target, dtype="float32")
    rows: list[tuple[str, Float32]] = [("input: built-in plucked strings", phrase)]
    if entry.picture_path.is_file():
        rows.append((f"style: {entry.name}", read_style_picture(entry.picture_path)))
    rows.append((f"output: {entry.name}, played by the phrase", output[: len(phrase)]))
    spectrogram_figure(picture, rows, SAMPLE_RATE)
    host = Host(load_rig(entry), ArrayDevice(np.zeros((BLOCK, 1), dtype=np.float32), SAMPLE_RATE, BLOCK))
    return DemoReport(
        files=[source, target, picture],
        latency=host.latency(),
        real_time_factor=real_time_factor(load_rig(entry), SAMPLE_RATE),
        times=bench_block(entry.name, lambda: load_rig(entry), BLOCK, SAMPLE_RATE, seconds),
    )
