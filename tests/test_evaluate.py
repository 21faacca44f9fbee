"""Evaluation: every figure moves the right way on processors whose faults are known, and bad material is one line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

pytest.importorskip("torch")

from duende import DuendeError
from duende.engine.preset import Rig, build_rig
from duende.engine.render import render_array
from duende.engine.spectral import SpectralProcessor
from duende.export.evaluate import (
    PRESET,
    STYLE_CLIP,
    Equaliser,
    Evaluation,
    PickUp,
    as_json,
    descriptor_rows,
    evaluate,
    evaluate_files,
    harmonic_move,
    measure_rows,
    playing_rows,
    verdict_rows,
    verdicts,
)
from duende.export.measures import FLOOR, MATCHED_EQ, UNTOUCHED, matched_eq
from duende.presets.format import FORMAT, Preset, SlotPreset
from duende.presets.library import Library
from models import DRY_ONLY, tiny_model, tiny_weights
from processors import Delay, Gain
from signals import bright_clip, noise, picked_notes, resting_guitar

pytestmark = pytest.mark.train

Float32 = npt.NDArray[np.float32]

RATE = 48000
HISS_DBFS = -58.0


@pytest.fixture(scope="module")
def clip() -> Float32:
    return bright_clip()


@pytest.fixture(scope="module")
def guitars() -> dict[str, Float32]:
    return {"take": np.concatenate([resting_guitar(2.1), picked_notes(2.4)])}


class Bad(Delay):
    """Four known faults: a hiss that plays on for ever, a curve, a late echo, and a tail of one second."""

    def __init__(self) -> None:
        super().__init__(64)
        self.tail_samples = RATE

    def process(self, block: Float32, out: Float32) -> None:
        super().process(block, out)
        np.tanh(8.0 * out, out=out)
        out += noise(np.random.default_rng(1), len(out), level_dbfs=HISS_DBFS)[:, None]


def judged(rig: Rig, guitars: dict[str, Float32], clip: Float32) -> Evaluation:
    return evaluate(rig, guitars, clip, bench_seconds=0.0)


@pytest.fixture(scope="module")
def plain(guitars: dict[str, Float32], clip: Float32) -> Evaluation:
    """The guitar as it is, twice as loud."""
    return judged(build_rig([("gain", Gain(2.0))]), guitars, clip)


@pytest.fixture(scope="module")
def bad(guitars: dict[str, Float32], clip: Float32) -> Evaluation:
    return judged(build_rig([("bad", Bad())]), guitars, clip)


def test_the_rows_are_the_tables_and_a_gain_changes_none_of_them(plain: Evaluation) -> None:
    take = plain.takes["take"]
    assert list(take.rows) == [UNTOUCHED, MATCHED_EQ, FLOOR, PRESET]
    assert take.preset.onset_f1 == 1.0
    assert take.preset.chroma == pytest.approx(1.0, abs=1e-3)
    assert take.preset.style_distance == pytest.approx(take.rows[UNTOUCHED].style_distance, rel=1e-3)
    assert take.matched_eq.style_ratio == pytest.approx(1.0)
    assert take.level_db == pytest.approx(20.0 * np.log10(2.0), abs=1e-3)
    assert plain.name == "chain"
    assert plain.latency.added_samples == 0


def test_every_sound_is_described_beside_the_clip(plain: Evaluation, bad: Evaluation) -> None:
    described = plain.takes["take"].described
    assert list(described) == [UNTOUCHED, STYLE_CLIP, MATCHED_EQ, PRESET]
    for key, value in described[UNTOUCHED].items():
        if key != "convergence_db" and value is not None:  # a gain changes none of them
            assert described[PRESET][key] == pytest.approx(value, rel=1e-3, abs=1e-6), key
    hissing = bad.takes["take"].described[PRESET]
    assert (described[PRESET]["convergence_db"] or -200.0) < -100.0
    assert (hissing["convergence_db"] or -200.0) > -40.0
    assert as_json(plain)["guitars"]["take"]["descriptors"][PRESET]["centroid_hz"] > 100.0
    titles, rows = zip(*descriptor_rows(plain, "take"), strict=True)
    assert titles == ("chain", UNTOUCHED, STYLE_CLIP, MATCHED_EQ)
    assert rows[2]["convergence_db"] == "-"


def test_more_input_is_only_louder_through_a_gain_and_another_sound_through_a_curve(
    plain: Evaluation, bad: Evaluation
) -> None:
    for change, wanted_db in zip(plain.takes["take"].gains, (-12.0, 12.0), strict=True):
        assert change.gain_db == wanted_db
        assert change.level_db == pytest.approx(wanted_db, abs=1e-3)
        assert change.residual_db < -100.0
        assert abs(change.style_change) < 1e-3
    quieter, louder = bad.takes["take"].gains
    assert quieter.residual_db > -30.0
    assert louder.residual_db > -20.0
    assert abs(louder.style_change) > 0.01


def test_the_ceiling_does_not_answer_for_a_louder_guitar(guitars: dict[str, Float32], clip: Float32) -> None:
    loud = {"take": 8.0 * guitars["take"]}
    rig = build_rig([("gain", Gain(1.0))])
    rig.bank.set("output/gain", 3.0)
    assert all(change.residual_db < -100.0 for change in judged(rig, loud, clip).takes["take"].gains)
    assert rig.bank.get("output/gain") == 3.0


def test_pick_up_noise_is_told_from_playing_and_compared_with_the_matched_eq(
    plain: Evaluation, bad: Evaluation, guitars: dict[str, Float32], clip: Float32
) -> None:
    noise_in = plain.takes["take"].pick_up
    assert noise_in is not None
    assert noise_in.input_dbfs == pytest.approx(-60.0, abs=0.2)
    assert noise_in.alone_dbfs == pytest.approx(noise_in.input_dbfs + 6.02, abs=0.02)
    assert noise_in.after_dbfs == pytest.approx(noise_in.alone_dbfs, abs=0.02)
    # The same by hand: what the EQ of the playing alone does to the noise, as loud as the playing was.
    expected = matched_eq(guitars["take"], clip)[round(0.5 * RATE) : 2 * RATE]
    assert noise_in.eq_dbfs == pytest.approx(10.0 * np.log10(np.mean(expected.astype(np.float64) ** 2)), abs=0.5)
    hissing = bad.takes["take"].pick_up
    assert hissing is not None
    assert hissing.alone_dbfs > -44.0
    assert hissing.worst_db > noise_in.worst_db + 10.0
    assert hissing.worst_db == max(hissing.alone_dbfs, hissing.after_dbfs) - hissing.eq_dbfs


def test_silence_after_playing_is_heard_from_300_ms_on(plain: Evaluation, bad: Evaluation) -> None:
    assert plain.takes["take"].silence_dbfs < -200.0
    peak = 20.0 * np.log10(np.abs(noise(np.random.default_rng(1), 1024, level_dbfs=HISS_DBFS)).max())
    assert bad.takes["take"].silence_dbfs == pytest.approx(peak, abs=1.5)


def test_a_tail_within_300_ms_is_not_counted(guitars: dict[str, Float32], clip: Float32) -> None:
    short, long = (judged(build_rig([("delay", Tail(late))]), guitars, clip) for late in (13000, 16000))
    assert short.takes["take"].silence_dbfs < -200.0
    assert long.takes["take"].silence_dbfs > -60.0


class Tail(Delay):
    """The input, and once more later than the reported latency of none."""

    def __init__(self, late: int) -> None:
        super().__init__(late)
        self.latency_samples = 0

    def prepare(self, spec: object) -> None:
        self.latency_samples = self.memory_samples
        super().prepare(spec)  # type: ignore[arg-type]
        self.latency_samples = 0


def test_verdicts_pass_and_fail_where_they_should(plain: Evaluation, bad: Evaluation) -> None:
    good = {one.name: one for one in verdicts(plain)}
    assert len(good) == 4 + 7
    assert good["style distance / matched EQ, worst"].passed is False
    assert good["onset F1, take"].passed is True
    assert good["chroma, take"].passed is True
    assert good["loudness correlation, take"].passed is True
    assert good["silence after playing, dBFS, take"].passed is True
    poor = {one.name: one for one in verdicts(bad)}
    assert poor["silence after playing, dBFS, take"].passed is False


def altered(evaluation: Evaluation, takes: int, **ours: float) -> Evaluation:
    """The same with other measures of the preset, on so many takes."""
    take = evaluation.takes["take"]
    rows = take.rows | {PRESET: replace(take.preset, **ours)}
    return replace(evaluation, takes={f"take {n}": replace(take, rows=rows) for n in range(takes)})


@pytest.mark.parametrize(
    ("measure", "name", "fits", "fails"),
    [
        ("style_ratio", "style distance / matched EQ, median", 0.4, 0.41),
        ("style_ratio", "style distance / matched EQ, worst", 0.8, 0.81),
        ("envelope_ratio", "envelope error / matched EQ, median", 0.4, 0.41),
        ("envelope_ratio", "envelope error / matched EQ, worst", 0.8, 0.81),
        ("onset_f1", "onset F1, take 0", 0.951, 0.5),
        ("loudness", "loudness correlation, take 0", 0.8, 0.79),
        ("chroma", "chroma, take 0", 1.0, 0.1),
        ("multi_pitch", "multi-pitch, take 0", 1.0, 0.1),
    ],
)
def test_each_bound_is_kept(plain: Evaluation, measure: str, name: str, fits: float, fails: float) -> None:
    for value, passed in ((fits, True), (fails, False), (float("nan"), None)):
        (found,) = (one for one in verdicts(altered(plain, 1, **{measure: value})) if one.name == name)
        assert found.passed is passed, (value, found)


def test_bounds_that_hang_on_the_matched_eq(plain: Evaluation) -> None:
    take = plain.takes["take"]
    eq = replace(take.matched_eq, onset_f1=0.9, chroma=0.7, multi_pitch=0.6, drone_db=1.0)
    for ours, passed in ((0.0, True), (-0.001, False)):
        mine = replace(
            take.preset,
            onset_f1=0.88 + ours,
            chroma=0.68 + ours,
            multi_pitch=0.58 + ours,
            drone_db=4.0 - 10.0 * ours,
        )
        rows = take.rows | {MATCHED_EQ: eq, PRESET: mine}
        noise_in = PickUp(-60.0, -64.0 - ours, -66.0, -70.0)
        case = replace(plain, takes={"x": replace(take, rows=rows, pick_up=noise_in)})
        found = {one.name: one.passed for one in verdicts(case)}
        for name in ("onset F1", "chroma", "multi-pitch", "drone over matched EQ, dB"):
            assert found[f"{name}, x"] is passed, name
        assert found["pick-up noise over matched EQ, dB, x"] is passed


def test_the_median_is_over_all_guitars(plain: Evaluation) -> None:
    case = altered(plain, 3, style_ratio=0.3)
    worst = replace(
        case.takes["take 0"],
        rows=plain.takes["take"].rows | {PRESET: replace(plain.takes["take"].preset, style_ratio=0.9)},
    )
    found = {one.name: one for one in verdicts(replace(case, takes=case.takes | {"take 0": worst}))}
    assert found["style distance / matched EQ, median"].value == pytest.approx(0.3)
    assert found["style distance / matched EQ, worst"].value == pytest.approx(0.9)


def test_a_take_without_a_rest_has_no_answer_on_noise(plain: Evaluation) -> None:
    take = replace(plain.takes["take"], pick_up=None)
    case = replace(plain, takes={"take": take})
    (found,) = (one for one in verdicts(case) if one.name.startswith("pick-up"))
    assert found.passed is None
    assert ("take: pick-up noise", "no rest of 2 s without playing in this take") in playing_rows(case)


def test_harmonic_share_moves_between_input_and_style(plain: Evaluation) -> None:
    take = plain.takes["take"]
    start = take.rows[UNTOUCHED].harmonic_share
    half = replace(take.preset, harmonic_share=(start + plain.style_share) / 2.0)
    case = replace(plain, takes={"take": replace(take, rows=take.rows | {PRESET: half})})
    assert plain.style_share > 0.7
    assert harmonic_move(case, "take") == pytest.approx(0.5)
    assert harmonic_move(plain, "take") == pytest.approx(0.0, abs=0.01)
    assert np.isnan(harmonic_move(replace(case, style_share=start + 0.01), "take"))


def test_json_is_strict_stable_and_complete(plain: Evaluation) -> None:
    data = json.loads(json.dumps(as_json(plain), allow_nan=False))
    assert set(data) == {
        *("format", "name", "style", "sample_rate", "values", "verdicts", "guitars", "latency", "speed", "models"),
        *("machine", "notices"),
    }
    take = data["guitars"]["take"]
    assert set(take) == {
        *("seconds", "measures", "descriptors", "pick_up", "gains", "silence_dbfs", "level_db", "harmonic"),
    }
    assert set(take["measures"]) == {UNTOUCHED, MATCHED_EQ, FLOOR, PRESET}
    assert take["measures"][FLOOR]["chroma"] is None
    assert take["measures"][PRESET]["style_ratio"] == plain.takes["take"].preset.style_ratio
    assert set(data["verdicts"][0]) == {"name", "value", "sense", "bound", "passed"}
    assert data["speed"]["block_times"] is None
    assert data["speed"]["real_time_factor"] > 1.0


def test_rows_for_the_terminal(plain: Evaluation) -> None:
    head, rows = measure_rows(plain, "take")
    assert [row[0] for row in rows] == [UNTOUCHED, MATCHED_EQ, FLOOR, "chain"]
    assert all(len(row) == len(head) for row in rows)
    assert rows[2][head.index("chroma")] == "-"
    assert {row[3] for row in verdict_rows(plain)} <= {"yes", "NO", "no answer"}
    assert ("added by duende", "0.00 ms (0 samples)") in playing_rows(plain)


def test_the_equaliser_of_a_take_is_its_matched_eq_and_a_filter(clip: Float32) -> None:
    take = picked_notes(2.5)
    equaliser = Equaliser(take, clip, RATE)
    np.testing.assert_allclose(equaliser.apply(take), matched_eq(take, clip), atol=1e-5)
    np.testing.assert_allclose(equaliser.apply(0.01 * take), 0.01 * equaliser.apply(take), atol=1e-6)


def test_a_model_with_two_styles_is_judged_at_a_corner(tmp_path: Path, clip: Float32) -> None:
    weights = tiny_weights(width=4, dilations=(1,), styles=2, excitations=1, levels=DRY_ONLY)
    weights.body[1] -= np.linspace(0.0, 3.0, weights.body.shape[1], dtype=np.float32)
    model = tiny_model(tmp_path, weights, excitations=("dry@1",))
    takes = {"take": picked_notes(2.2)}
    corner = evaluate(model, takes, clip, style_index=1, bench_seconds=0.0)
    assert corner.values == {"slot/1/style0": 0.0, "slot/1/style1": 1.0}
    assert corner.name == "tiny"
    assert corner.latency.added_samples == 128
    rig = build_rig([("tiny", SpectralProcessor(model))])
    first = render_array(rig, takes["take"], RATE)[: len(takes["take"])]
    assert not np.allclose(corner.takes["take"].sounds[PRESET], first, atol=1e-3)
    for name, value in corner.values.items():
        rig.bank.set(name, value)
    second = render_array(rig, takes["take"], RATE)[: len(takes["take"])]
    assert np.array_equal(corner.takes["take"].sounds[PRESET], second)
    with pytest.raises(DuendeError, match="style 2 of style0, style1: choose 0 to 1"):
        evaluate(model, takes, clip, style_index=2)
    with pytest.raises(DuendeError, match="no parameter 'slot/1/organ'"):
        evaluate(model, takes, clip, values={"slot/1/organ": 1.0})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "guitars"
    path.mkdir()
    soundfile.write(path / "riff.wav", picked_notes(2.2), RATE)
    return path


def test_files_end_to_end(tmp_path: Path, folder: Path, clip: Float32) -> None:
    soundfile.write(tmp_path / "clip.wav", clip, RATE)
    model = tiny_model(tmp_path, tiny_weights(width=4, dilations=(1,), excitations=1), excitations=("dry@1",))
    library = Library(tmp_path / "own", tmp_path / "none")
    entry = library.save(
        "tiny", Preset(FORMAT, "tiny", [SlotPreset("style", "tiny.onnx")]), {"tiny.onnx": model.path.read_bytes()}
    )
    shares: list[float] = []
    (folder / "notes.txt").write_text("no sound")
    result = evaluate_files(entry, folder, tmp_path / "clip.wav", bench_seconds=0.1, progress=shares.append)
    assert list(result.takes) == ["riff"]
    assert result.name == "tiny"
    assert result.style == "clip.wav"
    assert result.notices == ["notes.txt: not a readable sound file, left out"]
    assert result.times is not None
    assert result.times.block == 128
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    rig = build_rig([("tiny", SpectralProcessor(model))])
    output = render_array(rig, playing_file(folder / "riff.wav"), RATE)[: round(2.2 * RATE)]
    np.testing.assert_allclose(result.takes["riff"].sounds[PRESET], output, atol=1e-6)


def playing_file(path: Path) -> Float32:
    audio: Float32 = soundfile.read(path, dtype="float32")[0]
    return audio


def test_what_cannot_be_judged_is_refused(clip: Float32, tmp_path: Path) -> None:
    rig = build_rig([("gain", Gain())])
    with pytest.raises(DuendeError, match="no guitar to evaluate with"):
        evaluate(rig, {}, clip)
    with pytest.raises(DuendeError, match="nap: silent"):
        evaluate(rig, {"nap": np.zeros(3 * RATE, dtype=np.float32)}, clip)
    with pytest.raises(DuendeError, match=r"lick: 0\.50 s long, at least 2 s are needed; choose another take"):
        evaluate(rig, {"lick": picked_notes(0.5)}, clip)
    soundfile.write(tmp_path / "hush.wav", np.zeros(3 * RATE), RATE)
    with pytest.raises(DuendeError, match="silent"):
        evaluate_files(Library().find("cello"), tmp_path, tmp_path / "hush.wav")
