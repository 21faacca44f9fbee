"""A library of sound files through a preset, by the live signal path: `duende render DIR OUT`."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from ... import DuendeError
from ...engine.preset import load_rig
from ...engine.render import render_file
from ...presets.library import Entry
from ..work.driver import Item
from ..work.kinds import Given, Made
from ..work.task import Source, Task
from .presets import preset_given, preset_inputs
from .sounds import sounds_below, twice

FORMATS = (".wav", ".flac", ".aiff")
"""Those that are the same bytes for the same sound: an Ogg file begins with a random number."""

SOUND = "sound"


def render_items(
    entry: Entry,
    folder: Path,
    target: Path,
    *,
    values: Mapping[str, float] | None = None,
    channel: int | None = None,
    ending: str = ".wav",
    provider: str = "cpu",
) -> tuple[int, Iterator[Item]]:
    """How many, and one by one: every sound file below folder, to the same place below target.

    A file that cannot be read is an item that fails. DuendeError for an empty folder, a preset that cannot be opened,
    values that it does not have, and other formats than FORMATS.
    """
    if ending not in FORMATS:
        raise DuendeError(
            f"--format {ending.lstrip('.')}: for whole folders choose {', '.join(f[1:] for f in FORMATS)}"
        )
    if target.resolve() == folder.resolve():
        raise DuendeError(f"{target}: write to another folder than the one that is read")
    load_rig(entry, provider, values)
    preset = preset_inputs(entry)
    found = sounds_below(folder, target)
    clashing = twice(one.with_suffix(ending) for one in found)
    parameters = {"values": dict(values or {}), "channel": channel, "ending": ending, "provider": provider}

    def items() -> Iterator[Item]:
        for one in found:
            place = one.with_suffix(ending)
            if place in clashing:
                yield Item(str(one), None, f"another file would be written to {place}, too: rename one of them")
                continue
            try:
                inputs = {**preset, SOUND: Source.of_file(folder / one)}
            except DuendeError as error:
                yield Item(str(one), None, str(error))
                continue
            yield Item(str(one), Task(str(one), "render", parameters, inputs), places={SOUND: target / place})

    return len(found), items()


def work(given: Given) -> Made:
    """Render one file."""
    asked = given.parameters
    rig = load_rig(preset_given(given), asked["provider"], asked["values"])
    made = given.folder / f"made{asked['ending']}"
    report = render_file(rig, given.inputs[SOUND], made, asked["channel"])
    data = {
        "frames": report.frames,
        "channels": report.channels,
        "sample_rate": report.sample_rate,
        "latency_samples": report.latency_samples,
        "notices": rig.notices + report.notices,
    }
    return Made({SOUND: made}, data, {"audio_s": report.audio_s, "work_s": report.work_s})
