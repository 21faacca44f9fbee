"""Every preset on every guitar, measured beside its baselines: `duende evaluate all`."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import DuendeError
from ...engine.preset import load_rig
from ...presets.library import Entry
from ..sounds import load_sound
from ..takes import load_takes
from ..work.driver import Item
from ..work.kinds import Given, Made
from ..work.task import Source, Task
from .presets import preset_given, preset_inputs
from .sounds import ENDINGS, sounds_below, twice

REPORT = "report"
GUITAR, STYLE = "guitar", "style"
RATE = 48000
COLUMNS = ("style_ratio", "envelope_ratio", "chroma", "multi_pitch", "onset_f1", "loudness")


def style_of(entry: Entry, styles: Path) -> Path:
    """The recording that a preset is compared with: one file for all, or that of a folder named as the preset is.

    "cello-phrase.wav" will do for the preset "cello"; so will the one clip that its model says it was made from.
    DuendeError where there is none, or more than one.
    """
    if styles.is_file():
        return styles
    if not styles.is_dir():
        raise DuendeError(f"{styles}: no such file or folder")
    files = [one for one in sorted(styles.iterdir()) if one.suffix.lower() in ENDINGS and one.is_file()]
    exact = [one for one in files if one.stem.lower() == entry.name]
    longer = [one for one in files if one.stem.lower().startswith(f"{entry.name}-")]
    clips = {clip.title for clip in _clips(entry)}
    made_from = [one for one in files if one.name in clips] if len(clips) == 1 else []
    for found in (exact, longer, made_from):
        if len(found) == 1:
            return found[0]
        if found:
            break
    else:
        raise DuendeError(f"{entry.name}: no recording for it in {styles}: name one {entry.name}.wav")
    raise DuendeError(f"{entry.name}: {', '.join(one.name for one in found)} might be meant: keep one of them there")


def judging_items(
    entries: Sequence[Entry], guitars: Path, styles: Path, target: Path, amount: float | None = None
) -> tuple[int, Iterator[Item]]:
    """How many, and one by one: each preset on each guitar, to PRESET/GUITAR.json below target."""
    takes = [Path(guitars.name)] if guitars.is_file() else sounds_below(guitars, target)
    base = guitars.parent if guitars.is_file() else guitars
    clashing = twice(one.with_suffix(".json") for one in takes)

    def items() -> Iterator[Item]:
        for entry in entries:
            try:
                inputs = {**preset_inputs(entry), STYLE: Source.of_file(style_of(entry, styles))}
                refusal = ""
            except DuendeError as error:
                inputs, refusal = {}, str(error)
            for take in takes:
                name = f"{entry.name} on {take}"
                place = take.with_suffix(".json")
                if refusal or place in clashing:
                    yield Item(
                        name, None, refusal or f"another guitar is called {place.with_suffix('')}, too: rename it"
                    )
                    continue
                try:
                    given = {**inputs, GUITAR: Source.of_file(base / take)}
                except DuendeError as error:
                    yield Item(name, None, str(error))
                    continue
                task = Task(name, "evaluate", {"amount": amount}, given)
                yield Item(name, task, places={REPORT: target / entry.name / place})

    return len(entries) * len(takes), items()


def work(given: Given) -> Made:
    """Measure one preset on one guitar; what depends on the machine's speed is left out."""
    from ..evaluate import as_json, evaluate

    clip = load_sound(given.inputs[STYLE], RATE)
    takes, notices = load_takes(given.inputs[GUITAR], clip, RATE)
    entry, amount = preset_given(given), given.parameters["amount"]
    found = evaluate(
        load_rig(entry),
        takes,
        clip,
        RATE,
        name=entry.name,
        style_title=given.inputs[STYLE].name,
        values={} if amount is None else {"amount": amount},
        bench_seconds=0.0,
    )
    report = as_json(found)
    report["notices"] = notices + report["notices"]
    speed = report.pop("speed")
    report.pop("machine")
    row = next(iter(found.takes.values())).preset
    figures = {name: _number(getattr(row, name)) for name in COLUMNS}
    passed = [one["passed"] for one in report["verdicts"]]
    data = {"preset": entry.name, "guitar": given.inputs[GUITAR].stem, **figures}
    data["kept"], data["missed"] = passed.count(True), passed.count(False)
    text = json.dumps(report, indent=2, sort_keys=True) + "\n"
    return Made({REPORT: text.encode()}, data, {"real_time_factor": speed["real_time_factor"]})


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of `work` as CSV, sorted."""
    head = ("preset", "guitar", *COLUMNS, "kept", "missed")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in sorted(rows, key=lambda one: (one["preset"], one["guitar"])):
        cells = (row[name] for name in head)
        writer.writerow(f"{cell:.6g}" if isinstance(cell, float) else cell for cell in cells)
    return text.getvalue()


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _clips(entry: Entry) -> list[Any]:
    rig = load_rig(entry)
    models = [getattr(slot.processor, "model", None) for slot in rig.chain.slots]
    return [clip for model in models if model is not None for clip in model.spec.provenance.clips]
