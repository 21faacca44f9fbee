"""Evaluation: what a preset makes of guitars it never saw, beside baselines, through the engine that plays it.

Every figure is measured on the output of `engine.render.render_array`, aligned with the input, and stands beside that
of the untouched input and of a matched equaliser (`measures.matched_eq`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import scipy.fft

from .. import DuendeError
from ..engine.bands import hz_to_erb
from ..engine.bench import BlockTimes, bench_block, machine, real_time_factor
from ..engine.device import ArrayDevice
from ..engine.host import Host, LatencyReport
from ..engine.model import Model
from ..engine.preset import Rig, build_rig, load_rig
from ..engine.render import render_array
from ..engine.slots import processor_for
from ..engine.spec import ModelSpec
from ..presets.library import Entry
from . import measures
from .descriptors import described
from .measures import FLOOR, MATCHED_EQ, UNTOUCHED, Judge, Measures, StyleTarget
from .sounds import load_sound
from .takes import dbfs, flaw_of, judged_stretch, load_takes, loudest_stretch, quiet_stretch

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

FORMAT = 1
PRESET = "preset"
"""Name of the row of a take's measures that holds the preset's own."""

STYLE_CLIP = "style clip"
"""Name of the row of a take's descriptors that holds the clip's own."""

SETTLE_S, SILENCE_S, AFTER_S, LEAD_S = 0.5, 1.0, 0.3, 3.0
GAINS_DB = (-12.0, 12.0)
HEAD_ROOM_DB = 30.0
BLOCK = 128


@dataclass(frozen=True)
class PickUp:
    """What becomes of the noise of a guitar at rest: RMS in dBFS, 0.5 s after its beginning until its end.

    alone: from the first sample on; after: right behind the take's loudest 3 s; eq: through the take's matched EQ.
    """

    input_dbfs: float
    alone_dbfs: float
    after_dbfs: float
    eq_dbfs: float

    @property
    def worst_db(self) -> float:
        """The louder of the two over what the matched EQ makes of the noise."""
        return max(self.alone_dbfs, self.after_dbfs) - self.eq_dbfs


@dataclass(frozen=True)
class GainChange:
    """What gain_db more input changes, the safety ceiling out of reach.

    level_db:     how much louder the output becomes (least squares).
    residual_db:  what differs once that is taken away, over the output; -60 is inaudible, 0 is another sound.
    style_change: change of the style distance, as a share of the matched EQ's.
    """

    gain_db: float
    level_db: float
    residual_db: float
    style_change: float


@dataclass(frozen=True)
class Take:
    """Everything measured on one guitar.

    rows:         `measures.table` with the preset's row under PRESET.
    silence_dbfs: highest sample 0.3 to 1 s after the input became digital silence, right behind its loudest 3 s.
    level_db:     RMS of the output over that of the input.
    sounds:       what was heard, float32 [samples] each, by the names of the rows (without the floor).
    described:    `descriptors.describe` by the names of the rows, and of the clip under STYLE_CLIP.
    """

    seconds: float
    rows: dict[str, Measures]
    pick_up: PickUp | None
    gains: tuple[GainChange, ...]
    silence_dbfs: float
    level_db: float
    sounds: dict[str, Float32] = field(repr=False)
    described: dict[str, dict[str, float | None]] = field(default_factory=dict, repr=False)

    @property
    def preset(self) -> Measures:
        return self.rows[PRESET]

    @property
    def matched_eq(self) -> Measures:
        return self.rows[MATCHED_EQ]


@dataclass(frozen=True)
class Evaluation:
    """A preset, judged. takes by the guitars' names; style_share: the clip's harmonic share."""

    name: str
    style: str
    sample_rate: int
    values: dict[str, float]
    takes: dict[str, Take]
    style_share: float
    style_clip: Float32 = field(repr=False)
    latency: LatencyReport
    real_time_factor: float
    times: BlockTimes | None
    models: tuple[ModelSpec, ...] = field(repr=False)
    notices: list[str]


class Verdict(NamedTuple):
    """One figure against its bound. sense: "<=" or ">="; passed is None where the material gives no answer."""

    name: str
    value: float
    bound: float
    passed: bool | None
    sense: str


def evaluate(
    source: Rig | Entry | Model,
    guitars: Mapping[str, Float32],
    style: Float32,
    sample_rate: int = 48000,
    *,
    name: str | None = None,
    style_title: str = "style",
    values: Mapping[str, float] | None = None,
    style_index: int | None = None,
    bench_seconds: float = 1.0,
    progress: Callable[[float], None] | None = None,
) -> Evaluation:
    """Render every guitar through the engine and measure it.

    guitars:       mono takes [samples] by name, at least 2 s; of one longer than 12 s the loudest 8 s are judged, and
                   all of it is searched for a rest to take the pick-up noise from.
    style:         the clip [samples] to be compared with.
    values:        parameters by name, on top of the preset's: "amount", "slot/1/cello", ...
    style_index:   of a model with several styles, the one to be judged alone: weight 1 for it, 0 for the others.
    bench_seconds: real time that the block times are measured for, 0 leaves them out.
    progress:      is told the share done, 0 to 1.
    DuendeError for takes that cannot be judged and for values that the preset does not have.
    """
    rig = _rig(source, values or {})
    chosen = dict(values or {}) | _choose_style(rig, style_index)
    clip = np.ascontiguousarray(style, dtype=np.float32)
    if not guitars:
        raise DuendeError("no guitar to evaluate with: give at least one take")
    target = StyleTarget(clip, sample_rate)
    takes: dict[str, Take] = {}
    for number, (title, guitar) in enumerate(guitars.items()):
        if progress is not None:
            progress(number / (len(guitars) + 1))
        takes[title] = _judge(rig, title, guitar, clip, target, sample_rate)
    if progress is not None:
        progress(len(guitars) / (len(guitars) + 1))
    specs = tuple(model.spec for slot in rig.chain.slots if (model := getattr(slot.processor, "model", None)))
    latency = Host(rig, ArrayDevice(np.zeros((BLOCK, 1), dtype=np.float32), sample_rate, BLOCK)).latency()
    times = bench_block("preset", lambda: rig, BLOCK, sample_rate, bench_seconds) if bench_seconds > 0.0 else None
    speed = real_time_factor(rig, sample_rate)
    if progress is not None:
        progress(1.0)
    return Evaluation(
        name=name or (source.name if isinstance(source, Entry) else ", ".join(spec.name for spec in specs) or "chain"),
        style=style_title,
        sample_rate=sample_rate,
        values=chosen,
        takes=takes,
        style_share=measures.harmonic_share(clip, sample_rate),
        style_clip=clip,
        latency=replace(latency, device_ms=None),
        real_time_factor=speed,
        times=times,
        models=specs,
        notices=list(rig.notices),
    )


def evaluate_files(
    entry: Entry,
    guitars: Path,
    style: Path,
    sample_rate: int = 48000,
    *,
    provider: str = "cpu",
    values: Mapping[str, float] | None = None,
    style_index: int | None = None,
    bench_seconds: float = 1.0,
    progress: Callable[[float], None] | None = None,
) -> Evaluation:
    """`evaluate` with the recordings of a folder (or one file) against a clip; what was left out is in `notices`."""
    clip = load_sound(style, sample_rate)
    takes, notices = load_takes(guitars, clip, sample_rate)
    result = evaluate(
        load_rig(entry, provider),
        takes,
        clip,
        sample_rate,
        name=entry.name,
        style_title=style.name,
        values=values,
        style_index=style_index,
        bench_seconds=bench_seconds,
        progress=progress,
    )
    return replace(result, notices=notices + result.notices)


def verdicts(evaluation: Evaluation) -> list[Verdict]:
    """The figures that a playable style must reach, each against its bound.

    Over all guitars: style distance and envelope error over the matched EQ's, median <= 0.4 and none above 0.8. For
    each guitar: onset F1 >= 0.95 or the EQ's - 0.02, whichever is lower; loudness correlation >= 0.8; chroma and
    multi-pitch >= the EQ's - 0.02; drone at most 3 dB above the EQ's; pick-up noise at most 6 dB above the EQ's;
    below -80 dBFS 300 ms after the input fell silent.
    """
    found: list[Verdict] = []

    def check(name: str, value: float, sense: str, bound: float) -> None:
        known = math.isfinite(bound) and not math.isnan(value)
        passed = (value <= bound if sense == "<=" else value >= bound) if known else None
        found.append(Verdict(name, value, bound, passed, sense))

    takes = evaluation.takes
    for name, ratios in (
        ("style distance / matched EQ", [take.preset.style_ratio for take in takes.values()]),
        ("envelope error / matched EQ", [take.preset.envelope_ratio for take in takes.values()]),
    ):
        check(f"{name}, median", float(np.median(ratios)), "<=", 0.4)
        check(f"{name}, worst", float(np.max(ratios)), "<=", 0.8)
    for title, take in takes.items():
        ours, eq = take.preset, take.matched_eq
        onsets = eq.onset_f1 if math.isnan(eq.onset_f1) else min(0.95, eq.onset_f1 - 0.02)
        check(f"onset F1, {title}", ours.onset_f1, ">=", onsets)
        check(f"loudness correlation, {title}", ours.loudness, ">=", 0.8)
        check(f"chroma, {title}", ours.chroma, ">=", eq.chroma - 0.02)
        check(f"multi-pitch, {title}", ours.multi_pitch, ">=", eq.multi_pitch - 0.02)
        check(f"drone over matched EQ, dB, {title}", ours.drone_db - eq.drone_db, "<=", 3.0)
        noise = math.nan if take.pick_up is None else take.pick_up.worst_db
        check(f"pick-up noise over matched EQ, dB, {title}", noise, "<=", 6.0)
        check(f"silence after playing, dBFS, {title}", take.silence_dbfs, "<=", -80.0)
    return found


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Plain data with stable keys; null where the material gives no answer.

    format: 1; name, style, sample_rate, values, notices; machine as `engine.bench.machine`.
    verdicts: list of {name, value, sense, bound, passed}, passed true, false or null.
    guitars: by name {seconds, measures: by row ("untouched input", "matched EQ", "floor", "preset") the fields of
        `measures.Measures`, pick_up: {input_dbfs, alone_dbfs, after_dbfs, eq_dbfs, worst_db} or null,
        descriptors: by row ("untouched input", "style clip", "matched EQ", "preset") the fields of
        `descriptors.Descriptors` and `descriptors.Nearness`,
        gains: list of {gain_db, level_db, residual_db, style_change}, silence_dbfs, level_db,
        harmonic: {input, matched_eq, output, style, moved}, moved as `harmonic_move`}.
    latency: {added_samples, added_ms, reblocking_ms, slots_ms: by slot}.
    speed: {real_time_factor, block_times: the fields of `engine.bench.BlockTimes` or null}.
    models: list of {name, kind, styles, precision, provenance}.
    """
    latency = evaluation.latency
    data = {
        "format": FORMAT,
        "name": evaluation.name,
        "style": evaluation.style,
        "sample_rate": evaluation.sample_rate,
        "values": evaluation.values,
        "verdicts": [
            {"name": one.name, "value": one.value, "sense": one.sense, "bound": one.bound, "passed": one.passed}
            for one in verdicts(evaluation)
        ],
        "guitars": {
            title: {
                "seconds": take.seconds,
                "measures": {row: asdict(one) for row, one in take.rows.items()},
                "descriptors": take.described,
                "pick_up": None if take.pick_up is None else asdict(take.pick_up) | {"worst_db": take.pick_up.worst_db},
                "gains": [asdict(gain) for gain in take.gains],
                "silence_dbfs": take.silence_dbfs,
                "level_db": take.level_db,
                "harmonic": {
                    "input": take.rows[UNTOUCHED].harmonic_share,
                    "matched_eq": take.matched_eq.harmonic_share,
                    "output": take.preset.harmonic_share,
                    "style": evaluation.style_share,
                    "moved": harmonic_move(evaluation, title),
                },
            }
            for title, take in evaluation.takes.items()
        },
        "latency": {
            "added_samples": latency.added_samples,
            "added_ms": 1000.0 * latency.added_samples / evaluation.sample_rate,
            "reblocking_ms": latency.reblocking_ms,
            "slots_ms": dict(latency.slots_ms),
        },
        "speed": {
            "real_time_factor": evaluation.real_time_factor,
            "block_times": None if evaluation.times is None else asdict(evaluation.times),
        },
        "models": [
            {
                "name": spec.name,
                "kind": spec.kind,
                "styles": spec.styles,
                "precision": getattr(spec, "precision", "float32"),
                "provenance": msgspec.to_builtins(spec.provenance),
            }
            for spec in evaluation.models
        ],
        "machine": machine(),
        "notices": evaluation.notices,
    }
    plain: dict[str, Any] = _plain(data)
    return plain


def harmonic_move(evaluation: Evaluation, title: str) -> float:
    """How far the harmonic share went from the input's (0) to the style's (1); nan where those two are alike."""
    take = evaluation.takes[title]
    start = take.rows[UNTOUCHED].harmonic_share
    way = evaluation.style_share - start
    return (take.preset.harmonic_share - start) / way if abs(way) >= 0.02 else math.nan


def measure_rows(evaluation: Evaluation, title: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows, as text, of the measures of one guitar: untouched input, matched EQ, floor, the preset."""
    head = ["", *(entry.name.replace("_", " ") for entry in fields(Measures))]
    rows = []
    for name, one in evaluation.takes[title].rows.items():
        label = evaluation.name if name == PRESET else name
        rows.append([label, *(number(value) for value in asdict(one).values())])
    return head, rows


def descriptor_rows(evaluation: Evaluation, title: str) -> list[tuple[str, dict[str, str]]]:
    """The descriptors of one guitar as text, the preset first: (row, by descriptor)."""
    found = evaluation.takes[title].described
    names = [name for name in (PRESET, UNTOUCHED, STYLE_CLIP, MATCHED_EQ) if name in found]
    return [
        (
            evaluation.name if name == PRESET else name,
            {key: "-" if value is None else number(value) for key, value in found[name].items()},
        )
        for name in names
    ]


def verdict_rows(evaluation: Evaluation) -> list[tuple[str, str, str, str]]:
    """Name, value, bound and answer of each verdict, as text."""
    answers = {True: "yes", False: "NO", None: "no answer"}
    return [
        (one.name, number(one.value), f"{one.sense} {number(one.bound)}", answers[one.passed])
        for one in verdicts(evaluation)
    ]


def playing_rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What a player asks, as text: noise, gain, silence and loudness by guitar; latency and speed."""
    rows: list[tuple[str, str]] = []
    for title, take in evaluation.takes.items():
        noise = take.pick_up
        if noise is None:
            rows.append((f"{title}: pick-up noise", "no rest of 2 s without playing in this take"))
        else:
            text = f"in {noise.input_dbfs:.1f}, alone {noise.alone_dbfs:.1f}, after playing {noise.after_dbfs:.1f}"
            rows.append((f"{title}: pick-up noise", f"{text}, matched EQ {noise.eq_dbfs:.1f} dBFS"))
        for gain in take.gains:
            text = f"level {gain.level_db:+.1f} dB, residual {gain.residual_db:.1f} dB"
            rows.append((f"{title}: input {gain.gain_db:+.0f} dB", f"{text}, style {gain.style_change:+.3f} x EQ"))
        rows.append((f"{title}: silence after playing", f"{take.silence_dbfs:.0f} dBFS"))
        rows.append((f"{title}: loudness", f"{take.level_db:+.1f} dB over the input"))
        shares = (take.rows[UNTOUCHED], take.matched_eq, take.preset)
        text = ", ".join(
            f"{label} {number(one.harmonic_share)}" for label, one in zip(("in", "EQ", "out"), shares, strict=True)
        )
        rows.append((f"{title}: harmonic share", f"{text}, style {number(evaluation.style_share)}"))
    rows += evaluation.latency.lines()
    rows.append(("offline speed", f"{evaluation.real_time_factor:.1f} x real time"))
    times = evaluation.times
    if times is not None:
        figures = f"p50 {times.median_us:.0f} us, p99 {times.p99_us:.0f} us of {times.period_us:.0f} us"
        rows.append((f"time per block of {times.block}", figures))
    return rows


def number(value: float) -> str:
    """Three figures, or a dash where there is no answer."""
    return "-" if math.isnan(value) else f"{value:.3g}"


def _rig(source: Rig | Entry | Model, values: Mapping[str, float]) -> Rig:
    if isinstance(source, Entry):
        rig = load_rig(source)
    elif isinstance(source, Model):
        rig = build_rig([(source.spec.name, processor_for(source))])
    else:
        rig = source
    for name, value in values.items():
        rig.bank.set(name, value)
    return rig


def _choose_style(rig: Rig, index: int | None) -> dict[str, float]:
    """Set the weights of one style of the model that has several; returns what was set."""
    if index is None:
        return {}
    families = []
    for slot in rig.chain.slots:
        model = getattr(slot.processor, "model", None)
        styles = model.spec.styles if isinstance(model, Model) else []
        if len(styles) > 1:
            families.append((slot.index + 1, styles))
    if len(families) > 1:
        raise DuendeError("several slots have several styles: choose the corner by values, as in slot/1/cello=1")
    slot_number, styles = families[0] if families else (0, ["the only style"])
    if not 0 <= index < len(styles):
        raise DuendeError(f"style {index} of {', '.join(styles)}: choose 0 to {len(styles) - 1}")
    chosen = {f"slot/{slot_number}/{style}": float(place == index) for place, style in enumerate(styles)}
    if not families:
        return {}
    for name, value in chosen.items():
        rig.bank.set(name, value)
    return chosen


def _judge(rig: Rig, title: str, guitar: Float32, clip: Float32, target: StyleTarget, sample_rate: int) -> Take:
    whole = np.asarray(guitar, dtype=np.float32)
    flaw = flaw_of(whole, sample_rate)
    if flaw is not None:
        raise DuendeError(f"{title}: {flaw}; choose another take")
    take = judged_stretch(whole, sample_rate)
    output = render_array(rig, take, sample_rate)[: len(take)]
    judge = Judge(take, clip, sample_rate)
    rows = {
        UNTOUCHED: judge.measure(take),
        MATCHED_EQ: judge.measure(judge.matched_eq),
        FLOOR: judge.floor(),
        PRESET: judge.measure(output),
    }
    found = described(take, clip, {MATCHED_EQ: judge.matched_eq, PRESET: output}, sample_rate)
    names = {"content": UNTOUCHED, "style": STYLE_CLIP}
    return Take(
        seconds=len(take) / sample_rate,
        rows=rows,
        pick_up=_pick_up(rig, whole, take, clip, sample_rate),
        gains=_gains(rig, take, rows, target, sample_rate),
        silence_dbfs=_silence(rig, take, sample_rate),
        level_db=dbfs(output) - dbfs(take),
        sounds={UNTOUCHED: take, MATCHED_EQ: judge.matched_eq, PRESET: output},
        described={names.get(name, name): row for name, row in found.items()},
    )


def _silence(rig: Rig, take: Float32, sample_rate: int) -> float:
    """Highest sample in dBFS, 0.3 to 1 s after the input was cut off in the midst of its loudest stretch."""
    lead = loudest_stretch(take, LEAD_S, sample_rate)
    silence = np.zeros(round(SILENCE_S * sample_rate), dtype=np.float32)
    played = render_array(rig, np.concatenate([lead, silence]), sample_rate)
    rest = played[len(lead) + round(AFTER_S * sample_rate) : len(lead) + len(silence)]
    return 20.0 * math.log10(float(np.abs(rest).max()) + 1e-12)


def _gains(
    rig: Rig, take: Float32, rows: Mapping[str, Measures], target: StyleTarget, sample_rate: int
) -> tuple[GainChange, ...]:
    """The take with less and more gain; quieter after the chain, so that the safety ceiling does not answer for it."""
    before = rig.bank.get("output/gain")
    rig.bank.set("output/gain", max(-60.0, before - HEAD_ROOM_DB))
    try:
        plain, *others = (
            render_array(rig, take * np.float32(10.0 ** (gain_db / 20.0)), sample_rate)[: len(take)].astype(np.float64)
            for gain_db in (0.0, *GAINS_DB)
        )
    finally:
        rig.bank.set("output/gain", before)
    eq_distance = rows[MATCHED_EQ].style_distance + 1e-9
    distance = target.distances(plain)[0]
    changes = []
    for gain_db, output in zip(GAINS_DB, others, strict=True):
        level = float(np.dot(output, plain)) / (float(np.dot(plain, plain)) + 1e-30)
        difference = output - level * plain
        share = float(np.dot(difference, difference)) / (float(np.dot(output, output)) + 1e-30)
        changes.append(
            GainChange(
                gain_db=gain_db,
                level_db=20.0 * math.log10(abs(level) + 1e-12),
                residual_db=10.0 * math.log10(share + 1e-20),
                style_change=(target.distances(output)[0] - distance) / eq_distance,
            )
        )
    return tuple(changes)


def _pick_up(rig: Rig, whole: Float32, take: Float32, clip: Float32, sample_rate: int) -> PickUp | None:
    noise = quiet_stretch(whole, sample_rate)
    if noise is None:
        return None
    settled = round(SETTLE_S * sample_rate)
    lead = loudest_stretch(take, LEAD_S, sample_rate).copy()
    fade = round(0.02 * sample_rate)
    lead[-fade:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    alone = render_array(rig, noise, sample_rate)[settled : len(noise)]
    after = render_array(rig, np.concatenate([lead, noise]), sample_rate)[len(lead) + settled : len(lead) + len(noise)]
    equalised = Equaliser(take, clip, sample_rate).apply(noise)[settled:]
    return PickUp(dbfs(noise[settled:]), dbfs(alone), dbfs(after), dbfs(equalised))


class Equaliser:
    """The matched EQ of one take (`measures.matched_eq`) as a filter for other sounds, at the gain it has there."""

    def __init__(self, take: Float32, style: Float32, sample_rate: int) -> None:
        self._rate = sample_rate
        centres_hz, self._gains_db = measures.matched_eq_gains_db(take, style, sample_rate)
        self._centres = hz_to_erb(centres_hz)
        self._level = 1.0
        self._level = 10.0 ** ((dbfs(take) - dbfs(self.apply(take))) / 20.0)

    def apply(self, audio: Float32) -> Float32:
        """Filter audio [samples] with zero phase: float32 [samples]."""
        size = scipy.fft.next_fast_len(len(audio) + self._rate, real=True)
        erb = hz_to_erb(scipy.fft.rfftfreq(size, 1.0 / self._rate))
        gain = self._level * 10.0 ** (np.interp(erb, self._centres, self._gains_db) / 20.0)
        filtered = scipy.fft.irfft(scipy.fft.rfft(audio.astype(np.float64), size) * gain, size)
        return np.asarray(filtered[: len(audio)], dtype=np.float32)


def _plain(data: Any) -> Any:
    """Numbers that JSON cannot write become null."""
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, Sequence) and not isinstance(data, str):
        return [_plain(value) for value in data]
    if isinstance(data, float | np.floating):
        return float(data) if math.isfinite(data) else None
    return data
