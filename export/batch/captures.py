"""Many captures converted, checked, and heard with the same phrase: `duende import DIR --workers N --audition OUT`."""

import io
from collections.abc import Iterator
from pathlib import Path

import soundfile

from ... import DuendeError
from ...presets.captures import ENDING, Captures, free_name
from ...presets.format import hash_of
from ..work.driver import Item
from ..work.kinds import Given, Made
from ..work.store import Result
from ..work.task import Source, Task

MODEL, HEARD = f"capture{ENDING}", "heard"
PHRASE = "phrase.wav"
RATE = 48000
LIFTED = 0.97


def capture_items(
    folder: Path, *, licence: str | None = None, phrase: Path | None = None, audition: Path | None = None
) -> tuple[int, Iterator[Item]]:
    """How many, and one by one: every capture below a folder. `keep_capture` brings it into the library.

    phrase: what each is heard with, a recording of 1 s and more; without it a built-in one. audition: folder for what
    was heard, a file for each. DuendeError where there is no capture.
    """
    from ..captures.install import found_below
    from ..captures.read import CONFIG, WEIGHTS

    sources = list(found_below(folder))
    if not sources:
        raise DuendeError(f"{folder.name}: no captures in this folder")
    played = _phrase(phrase)
    names = _names(folder, sources)

    def items() -> Iterator[Item]:
        for path, name in zip(sources, names, strict=True):
            shown = str(path.relative_to(folder))
            try:
                files = [path / CONFIG, path / WEIGHTS] if path.is_dir() else [path]
                inputs = {f"capture:{place}": Source.of_file(file) for place, file in enumerate(files)}
            except DuendeError as error:
                yield Item(shown, None, str(error))
                continue
            folder_name = path.name if path.is_dir() else ""
            task = Task(shown, "capture", {"licence": licence, "folder": folder_name}, inputs | {"phrase": played})
            yield Item(name, task, places={} if audition is None else {HEARD: audition / f"{name}.wav"})

    return len(sources), items()


def keep_capture(item: Item, result: Result, captures: Captures, *, force: bool = False) -> str:
    """Store a capture that was made, and say what it is; the same one that is there already stays.

    DuendeError where another one has its name.
    """
    path, data = captures.path_of(item.name), result.read(MODEL)
    line = f"{item.name}: {result.data['line']}"
    if path.is_file() and hash_of(path.read_bytes()) == hash_of(data):
        return f"{line} (it was there already)"
    captures.add(item.name, data, force=force)
    return line


def work(given: Given) -> Made:
    """Convert one capture, open it as the engine does, and play the phrase through it, as loud as it is plain."""
    from ..captures.audition import play_takes
    from ..captures.install import import_capture
    from ..captures.read import CONFIG

    sources = [path for slot, path in sorted(given.inputs.items()) if slot.startswith("capture:")]
    source = sources[0]
    if given.parameters["folder"]:
        source = given.folder / Path(given.parameters["folder"]).name
        source.mkdir()
        for path in sources:
            (source / path.name).symlink_to(path)
        assert (source / CONFIG).exists()
    captures = Captures(given.folder / "captures")
    found = import_capture(source, captures, name="capture", licence=given.parameters["licence"])
    path = captures.find("capture")
    with soundfile.SoundFile(given.inputs["phrase"]) as file:
        seconds = min(20.0, len(file) / file.samplerate)
    data = {"line": found.line().partition(": ")[2]}
    try:
        plain, take = play_takes(given.inputs["phrase"], {"capture": path}, None, seconds)
    except DuendeError as error:
        # It answers silence to this phrase: it can be played all the same.
        data["line"] += f" ({error})"
        return Made({MODEL: path, HEARD: _wav(0)}, data)
    gain = 10.0 ** ((plain.lufs - take.lufs) / 20.0)
    loudest = float(abs(take.audio).max()) * gain
    return Made({MODEL: path, HEARD: _wav(take.audio * min(gain, gain * LIFTED / max(loudest, 1e-9)))}, data)


def _wav(samples: object) -> bytes:
    import numpy as np

    file = io.BytesIO()
    soundfile.write(file, np.atleast_1d(np.asarray(samples, dtype=np.float32)), RATE, "PCM_16", format="WAV")
    return file.getvalue()


def _phrase(path: Path | None) -> Source:
    if path is not None:
        return Source.of_file(path)
    from ..pluck import demo_phrase

    return Source.of_bytes(_wav(demo_phrase(RATE)[: 8 * RATE]), PHRASE)


def _names(folder: Path, sources: list[Path]) -> list[str]:
    """A name for each: its file's, with a number where two are alike; what has no letters is called by its place."""
    captures, taken = Captures(folder), set[str]()
    names = []
    for place, path in enumerate(sources, start=1):
        try:
            name = captures.name_for(path.name if path.is_dir() else path.stem)
        except DuendeError:
            name = f"capture-{place}"
        names.append(free_name(name, taken))
        taken.add(names[-1])
    return names
