"""The Python API: `duende.render`, `duende.Host`, `duende.forge`, for notebooks and programs."""

import base64
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from .. import DuendeError
from ..engine.control.client import ask, look
from ..engine.control.instances import InstanceInfo, choose_instance, instances
from ..engine.control.namespace import PREFIX, Value
from ..engine.preset import load_rig
from ..engine.render import read_sound, render_array, write_sound
from ..engine.spec import DEVICE_RATES
from ..presets.library import Library

if TYPE_CHECKING:
    from .distill import Progress
    from .forge import Forged

Float32 = npt.NDArray[np.float32]
PathLike = str | os.PathLike[str]

SHOWN_S = 120.0
START_S = 60.0
END_S = 5.0
POLL_S = 0.02


@dataclass(frozen=True)
class Sound:
    """Samples float32 [n], or [n, channels] where there are several, full scale 1, with their rate in Hz.

    In a notebook it shows itself as a player (the first two minutes).
    notices: what was said while it was made, a line each.
    """

    samples: Float32
    sample_rate: int
    notices: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.sample_rate

    def save(self, path: PathLike) -> Path:
        """Write wav, flac, aiff, ogg or mp3; DuendeError where that cannot be done."""
        return write_sound(Path(path), self.samples, self.sample_rate)

    def __repr__(self) -> str:
        channels = 1 if self.samples.ndim == 1 else self.samples.shape[1]
        return f"<Sound: {self.seconds:.2f} s, {self.sample_rate} Hz, {'mono' if channels == 1 else 'stereo'}>"

    def _repr_html_(self) -> str:
        shown = self.samples[: int(SHOWN_S * self.sample_rate)]
        file = io.BytesIO()
        soundfile.write(file, np.clip(shown, -1.0, 1.0), self.sample_rate, subtype="PCM_16", format="WAV")
        data = base64.b64encode(file.getvalue()).decode()
        return f'<audio controls src="data:audio/wav;base64,{data}"></audio>'


def render(
    source: PathLike | Float32,
    preset: str = "cello",
    *,
    sample_rate: float | None = None,
    amount: float | None = None,
    mix: float | None = None,
    values: Mapping[str, float] | None = None,
    channel: int | None = None,
    provider: str = "cpu",
) -> Sound:
    """Play a sound through a preset, by exactly the live signal path.

    The result is aligned with the source (latency taken away) and keeps the tail, so it is a little longer.

    Args:
        source: a sound file, or samples [n] or [n, 2], full scale 1.
        preset: a preset of the library, by name.
        sample_rate: of samples, in Hz; of a file it is known. Rates other than 44.1, 48, 88.2 and 96 kHz are converted
            to 48 kHz.
        amount: 0 (the plain guitar) to 1 (the full style); None: as the preset has it.
        mix: 0 to 1, share of the effect; None: as the preset has it.
        values: of any parameters by name, as `{"slot/1/sax": 1.0, "output/gain": -3.0}`; docs/osc.md lists them.
        channel: from 1, which one of a file to play; None: mono and stereo as they are.
        provider: "cpu", "cuda" or "tensorrt"; falls back to the CPU, and says so in `notices`.

    Raises:
        DuendeError: no such preset, parameter or file; a value out of range; samples that are no sound.

    Example:
        >>> import duende, numpy as np
        >>> time = np.arange(48000) / 48000
        >>> note = 0.2 * np.sin(2 * np.pi * 220 * time).astype(np.float32)
        >>> played = duende.render(note, "cello", sample_rate=48000, amount=0.5)
        >>> played.sample_rate, played.seconds >= 1.0, played.samples.dtype.name
        (48000, True, 'float32')
    """
    given = {name: value for name, value in (("amount", amount), ("mix", mix)) if value is not None}
    if isinstance(source, np.ndarray):
        samples, rate, notices = _checked(source, sample_rate, channel)
    else:
        if sample_rate is not None:
            raise DuendeError("sample_rate: only for samples; a file knows its own")
        samples, rate, notices = read_sound(Path(source), channel)
    rig = load_rig(Library().find(preset), provider, {**(values or {}), **given})
    played = render_array(rig, samples, rate, outputs=2)
    notices = [*rig.notices, *notices]
    notices += [notice for slot in rig.chain.slots for notice in getattr(slot.processor, "notices", ())]
    return Sound(played[:, 0] if played.shape[1] == 1 else played, rate, notices)


def _checked(
    samples: npt.NDArray[Any], sample_rate: float | None, channel: int | None
) -> tuple[Float32, int, list[str]]:
    """Samples as float32 [n, channels] at a rate that can be played, and a notice where they were converted."""
    if sample_rate is None:
        raise DuendeError("samples have no rate of their own: say sample_rate=48000, or whatever it is")
    if channel is not None:
        raise DuendeError("channel: only for files; pick one of the samples' columns yourself")
    if not 4000.0 <= sample_rate <= 768000.0:
        raise DuendeError(f"sample_rate = {sample_rate:g} Hz is out of range: 4000 to 768000")
    frames = samples[:, None] if samples.ndim == 1 else samples
    if frames.ndim != 2 or not 1 <= frames.shape[1] <= 2 or not len(frames):
        raise DuendeError(f"samples of shape {samples.shape}: give [n] or [n, 2], with time along the first axis")
    if not np.issubdtype(frames.dtype, np.floating):
        raise DuendeError(f"samples of type {frames.dtype}: give floating point numbers with full scale 1")
    if not np.isfinite(frames).all():
        raise DuendeError("samples that are not numbers (NaN or infinity): repair them first")
    frames = np.ascontiguousarray(frames, dtype=np.float32)
    if sample_rate in DEVICE_RATES:
        return frames, int(sample_rate), []
    converted = np.asarray(soxr.resample(frames, sample_rate, 48000, quality="HQ"), dtype=np.float32)
    return converted, 48000, [f"{sample_rate:g} Hz is converted to 48000 Hz"]


def forge(
    recordings: PathLike | Sequence[PathLike],
    name: str,
    *,
    styles: bool = False,
    content: PathLike | None = None,
    mode: Literal["timbre", "texture"] = "timbre",
    teacher: str | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    device: str = "cpu",
    precision: str = "float32",
    resume: bool = False,
    report: PathLike | None = None,
    seed: int = 1,
    force: bool = False,
    progress: "Callable[[Progress], None] | None" = None,
) -> "Forged":
    """Make a playable style from recordings and put it into the library (needs the extra `train`).

    Interrupting it (Ctrl-C, or the notebook's stop button) keeps the best so far.

    Args:
        recordings: one sound file of 1 to 300 s, or several.
        name: of the new preset: 1 to 63 lower-case letters, digits and dashes.
        styles: each recording is a style of its own, and one model morphs between up to 8; else they are pooled.
        content: folder with recordings of your own guitar to train on; None: the built-in plucked strings.
        mode: "timbre" keeps your pitches; "texture" is for rain, crowds, drones.
        teacher: an offline system to learn from, too (`duende teachers`), or "none"; None: what suits the mode.
        minutes: be ready after so many; None: 3, or 8 for several styles.
        steps: train so many instead, however long it takes.
        device: "cpu" or "cuda".
        precision: "float32", "float16" (half the file) or "int8" (a quarter).
        resume: go on where a stopped forging of this name was.
        report: folder for a page with sounds, pictures and curves.
        seed: of everything random.
        force: replace a preset of the same name.
        progress: told each step: `step`, `steps`, `text`.

    Returns:
        What was made: `entry` (the preset), `measured` beside a matched equaliser, `history`, `seconds`, `notices`.

    Raises:
        DuendeError: torch is missing, the name is taken, a recording is too short or cannot be read.

    Example:
        >>> made = duende.forge("cello.wav", "my-cello", minutes=3)    # doctest: +SKIP
        >>> duende.render("guitar.wav", made.entry.name)               # doctest: +SKIP
    """
    try:
        from .forge import ForgeRequest, sources
        from .forge import forge as run
    except ImportError as error:
        raise DuendeError(f"forging needs {error.name}: pip install 'duende[train]'") from error
    files = [recordings] if isinstance(recordings, str | os.PathLike) else list(recordings)
    request = ForgeRequest(
        sources([Path(file) for file in files], name, apart=styles),
        name,
        content=None if content is None else Path(content),
        mode=mode,
        teacher=teacher,
        minutes=minutes,
        steps=steps,
        device=device,
        precision=precision,
        resume=resume,
        report=None if report is None else Path(report),
        seed=seed,
    )
    return run(request, Library(), force=force, report=progress)


class Host:
    """A host that plays, in processes of its own, so that nothing in a notebook can hold up the sound.

    It ends with `close`, at the end of a `with` block, or when this program ends. It neither uses
    nor changes what `duende live` keeps from one time to the next.

    Example:
        >>> with duende.Host("cello", input="Scarlett", block=128) as host:    # doctest: +SKIP
        ...     host.set("amount", 0.7)
        ...     host.load("sax")
        ...     print(host.status())
    """

    def __init__(
        self,
        preset: str = "cello",
        *,
        input: str | None = None,  # noqa: A002 - as on the command line
        output: str | None = None,
        in_channel: int = 1,
        channels: Literal["mono", "wide", "stereo"] = "wide",
        rate: float | None = None,
        block: int = 128,
        safety: int = 0,
        provider: str = "cpu",
        allow_feedback: bool = False,
        wait: bool = False,
    ) -> None:
        """Start, and return when the preset plays.

        Args:
            preset: of the library, by name.
            input: input device, its number or a part of its name; None: the system's.
            output: output device; None: the input's.
            in_channel: from 1.
            channels: "wide" (mono in, stereo where an effect makes two sides), "mono" or "stereo".
            rate: in Hz; None: the device's.
            block: frames per block of the device, 0 for its own.
            safety: play so many blocks later, on a thread of its own.
            provider: "cpu", "cuda" or "tensorrt".
            allow_feedback: allow a built-in microphone with built-in speakers.
            wait: begin even where the device is not there yet: the clock runs, without a sound, until it is.

        Raises:
            DuendeError: no such device or preset, or the device cannot be opened, in the host's own words.
        """
        self._process: subprocess.Popen[bytes] | None = None
        words = ["--preset", preset, "--in-channel", in_channel, "--channels", channels, "--block", block]
        words += ["--safety", safety, "--provider", provider, "--owned"]
        words += ["--input", input] if input is not None else []
        words += ["--output", output] if output is not None else []
        words += ["--rate", rate] if rate is not None else []
        words += ["--allow-feedback"] if allow_feedback else []
        words += ["--headless"] if wait else []
        # A file, since nobody reads a pipe while the notebook thinks.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the host
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "duende", "live", *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self.info = self._appear(self._process)
        except BaseException:
            self.close()
            raise

    @classmethod
    def connect(cls, port: int | None = None) -> Self:
        """Control a host that runs on this machine already; closing leaves it as it is.

        port: its OSC port; None: the only one. DuendeError where there is none, or several.
        """
        host = cls.__new__(cls)
        host._process = None
        host.info = choose_instance(port)
        return host

    def get(self, name: str) -> Any:
        """The value of an address, as "amount" or "/duende/slot/1/mix"; a list where it has several."""
        found = self.order(name)
        return found[0] if len(found) == 1 else found

    def set(self, name: str, *values: Value) -> None:
        """Set a value, as `host.set("amount", 0.5)`; out of range it is taken to the nearest bound."""
        if not values:
            raise DuendeError(f"{name}: nothing to set it to")
        self.order(name, *values)

    def order(self, address: str, *values: Value) -> list[Value]:
        """Any address of docs/osc.md, as `host.order("preset/load", "sax")`; what the host answers.

        DuendeError in the host's own words where it refuses.
        """
        full = address if address.startswith(PREFIX) else f"{PREFIX}/{address.strip('/')}"
        return ask(self.info, full, list(values))

    def load(self, preset: str) -> None:
        """Play another preset: crossfaded, or faded out and in (another delay, or a machine too slow for both)."""
        self.order("preset/load", preset)

    def presets(self) -> list[str]:
        """The names of the presets that the host knows."""
        return [str(name) for name in self.order("preset/list")]

    def status(self) -> dict[str, list[Value]]:
        """Preset, device, load, latency, late blocks, xruns, slots: by address without `/duende/`."""
        return look(self.info)

    def close(self) -> None:
        """End it, if it was started here."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
            process.kill()
            process.wait()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_process", None) is not None:
            self.close()

    def __repr__(self) -> str:
        return f"<Host {self.info.name} on port {self.info.osc_port}>"

    def _appear(self, process: "subprocess.Popen[bytes]") -> InstanceInfo:
        """Wait until it answers that a preset plays; DuendeError with its last words where it ends."""
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if process.poll() is not None:
                self._log.seek(0)
                words = self._log.read().decode(errors="replace").strip().splitlines() or ["no word"]
                said = [line for line in words if line.startswith("duende: ")]
                raise DuendeError((said or words)[-1].removeprefix("duende: "))
            for info in instances():
                if info.pid == process.pid:
                    with contextlib.suppress(DuendeError):
                        if ask(info, f"{PREFIX}/preset/current", timeout_s=1.0)[:1] not in ([], [""]):
                            return info
            time.sleep(POLL_S)
        raise DuendeError(f"the host did not begin to play within {START_S:g} s")
