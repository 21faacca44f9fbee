"""Training of textures: statistics against plain sums, training hears what is played, files answer as students."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.train

import torch  # noqa: E402

from duende import DuendeError  # noqa: E402
from duende.engine.model import TEXTURE_SIZES, load_model  # noqa: E402
from duende.engine.processor import StreamSpec  # noqa: E402
from duende.engine.texture import Noise, TextureProcessor  # noqa: E402
from duende.engine.texture import level_curve as engine_level_curve  # noqa: E402
from duende.export.model_file import provenance  # noqa: E402
from duende.export.texture import distill  # noqa: E402
from duende.export.texture.distill import TextureConfig, TextureDistiller, batch, hear, prepare_clip  # noqa: E402
from duende.export.texture.model_file import check_texture, texture_bytes  # noqa: E402
from duende.export.texture.statistics import (  # noqa: E402
    TAPS,
    OnsetGuard,
    PatchTarget,
    Scale,
    mean_squared_kernel,
)
from duende.export.texture.student import (  # noqa: E402
    Player,
    StudentConfig,
    TextureStudent,
    level_curve,
    phasors,
)
from signals import noise, snr_db, tone  # noqa: E402

Float32 = npt.NDArray[np.float32]

HOP = TEXTURE_SIZES.hop
RATE = 48000
ORIGIN = provenance([], "none", "none", {}, 0, 0, "none")
SMALL = StudentConfig(styles=2, width=8, dilations=(1, 2), templates=3)
QUICK = TextureConfig(
    width=16,
    templates=4,
    pieces=3,
    seconds=1.6,
    run_in_seconds=0.3,
    steps=8,
    steps_per_further_style=2,
    batch=2,
    warm_up=2,
)


def plucks(seed: int, seconds: float) -> Float32:
    """Decaying tones, one every 0.4 s."""
    rng = np.random.default_rng(seed)
    out = noise(rng, round(seconds * RATE), level_dbfs=-70.0)
    for start in range(0, len(out), round(0.4 * RATE)):
        length = min(len(out) - start, RATE)
        fall = np.exp(-np.arange(length) / (0.15 * RATE)).astype(np.float32)
        out[start : start + length] += fall * tone(float(rng.uniform(100.0, 800.0)), length, level_dbfs=-12.0)
    return out


def shaken(student: TextureStudent, seed: int = 0) -> TextureStudent:
    """The student with seeded weights in place of those that start at 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        student.templates.sub_(3.0)
    return student.eval()


@pytest.fixture(scope="module")
def distilled() -> distill.TextureDistilled:
    content = [plucks(seed, QUICK.run_in_seconds + QUICK.seconds) for seed in range(QUICK.pieces)]
    clip = noise(np.random.default_rng(5), 3 * RATE, level_dbfs=-20.0)
    return TextureDistiller(content, QUICK).distil([clip])


# -- statistics -------------------------------------------------------------------------------------------------------


def plain_kernel(left: Float32, right: Float32) -> float:
    """Mean squared arc-cosine kernel of all patches, one pair at a time."""
    total, count = 0.0, 0
    for first in range(len(left) - TAPS + 1):
        a = left[first : first + TAPS].ravel().astype(np.float64)
        for second in range(len(right) - TAPS + 1):
            b = right[second : second + TAPS].ravel().astype(np.float64)
            norms = np.linalg.norm(a) * np.linalg.norm(b)
            angle = np.arccos(np.clip(a @ b / norms, -1.0, 1.0))
            total += (norms * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi) ** 2
            count += 1
    return total / count


def test_the_kernel_is_that_of_patches(rng: np.random.Generator) -> None:
    left, right = (rng.random((count, 7)).astype(np.float32) for count in (14, 16))
    got = float(mean_squared_kernel(torch.from_numpy(left)[None], torch.from_numpy(right)[None]))
    assert got == pytest.approx(plain_kernel(left, right), rel=1e-4)


def test_patches_do_not_reach_over_pieces(rng: np.random.Generator) -> None:
    pieces, right = rng.random((2, 13, 5)).astype(np.float32), rng.random((12, 5)).astype(np.float32)
    got = float(mean_squared_kernel(torch.from_numpy(pieces), torch.from_numpy(right)[None]))
    assert got == pytest.approx(np.mean([plain_kernel(piece, right) for piece in pieces]), rel=1e-4)


def test_the_kernel_has_the_slope_of_its_values(rng: np.random.Generator) -> None:
    left, right = (torch.from_numpy(rng.random((1, 13, 4))).requires_grad_(first) for first in (True, False))
    mean_squared_kernel(left, left).backward()
    step = torch.from_numpy(rng.standard_normal(left.shape)) * 1e-5
    with torch.no_grad():
        rise = mean_squared_kernel(left + step, left + step) - mean_squared_kernel(left - step, left - step)
        assert left.grad is not None
        assert float((left.grad * step).sum()) == pytest.approx(0.5 * float(rise), rel=1e-3)
        assert float(mean_squared_kernel(left, right)) > 0.0


def test_a_clip_has_no_distance_from_itself(rng: np.random.Generator) -> None:
    clip = torch.from_numpy(noise(rng, 2 * RATE, level_dbfs=-20.0))
    target = PatchTarget(clip, Scale(1024, 512), 99)
    other = torch.from_numpy(tone(440.0, 2 * RATE, level_dbfs=-17.0))
    assert float(target.distance(clip[None])) <= 1e-3
    assert float(target.distance(other[None])) > 0.3


def test_silence_has_finite_slopes() -> None:
    target = PatchTarget(torch.from_numpy(tone(440.0, RATE)), Scale(1024, 512), 4)
    silent = torch.zeros(1, RATE, requires_grad=True)
    target.distance(silent).backward()
    assert silent.grad is not None
    assert bool(torch.isfinite(silent.grad).all())


def test_onsets_where_nothing_sounds_do_not_count() -> None:
    guard = OnsetGuard(RATE)
    played = torch.from_numpy(plucks(1, 2.0))[None]
    ticking = played + 1e-4 * torch.from_numpy(noise(np.random.default_rng(0), 2 * RATE))
    assert float(guard(guard.flux(played), played)) <= 1e-5
    assert float(guard(guard.flux(played), ticking)) <= 0.05
    assert float(guard(guard.flux(played), torch.from_numpy(plucks(2, 2.0)).roll(9000)[None])) > 0.3


# -- student and engine -----------------------------------------------------------------------------------------------


def test_the_level_curve_is_the_engines() -> None:
    swing = torch.linspace(-6.0, 4.0, 101)
    for gamma in (0.4, 1.0):
        wanted = [engine_level_curve(float(one), gamma) for one in swing]
        assert torch.allclose(level_curve(swing, torch.tensor(gamma)), torch.tensor(wanted), atol=1e-5)


def test_phasors_are_of_length_1(rng: np.random.Generator) -> None:
    found = phasors(torch.from_numpy(rng.standard_normal((2, 5, TEXTURE_SIZES.bins)).astype(np.float32)))
    assert torch.allclose(found.abs(), torch.ones(()), atol=1e-4)


def test_training_hears_what_the_engine_plays(tmp_path: Path) -> None:
    """Tone phases may part where rounding decides which of two bins leads: a single bin costs some dB."""
    student = shaken(TextureStudent(StudentConfig(width=8, dilations=(1, 2), templates=3)))
    data = texture_bytes(distill.TextureDistilled(student, [], 0.0, True), "tiny", ["tiny"], 48000.0, ORIGIN)
    (tmp_path / "tiny.onnx").write_bytes(data)
    samples = plucks(3, 1.0)[: 300 * HOP]
    processor = TextureProcessor(load_model(tmp_path / "tiny.onnx"))
    processor.prepare(StreamSpec(48000.0, 1, 300 * HOP))
    played = np.zeros((len(samples), 1), dtype=np.float32)
    processor.process(samples[:, np.newaxis], played)

    past = student.config.receptive_field - 1
    heard = batch([hear(np.concatenate([np.zeros(past * HOP, dtype=np.float32), samples]), RATE, past, past)])
    table = Noise(TEXTURE_SIZES, 300).process(300)
    with torch.no_grad():
        ratios, dynamics = student(heard.features, torch.ones(1))
        noises = torch.from_numpy(table.copy())[None]
        wanted = Player()(heard, ratios[:, past:], dynamics[:, past:], noises).audio[0].numpy()
    assert np.sqrt(np.mean(wanted**2)) > 0.01
    assert snr_db(wanted, played[:, 0]) >= 30.0


def test_a_file_answers_as_its_student(tmp_path: Path) -> None:
    student = shaken(TextureStudent(SMALL))
    data = texture_bytes(distill.TextureDistilled(student, [], 0.0, True), "two", ["one", "other"], 48000.0, ORIGIN)
    (tmp_path / "two.onnx").write_bytes(data)
    model = load_model(tmp_path / "two.onnx")
    assert model.spec.receptive_field_frames == SMALL.receptive_field
    assert [one.name for one in TextureProcessor(model).controls] == ["amount", "one", "other"]


def test_a_file_that_differs_is_refused() -> None:
    student = shaken(TextureStudent(SMALL))
    data = texture_bytes(distill.TextureDistilled(student, [], 0.0, True), "two", ["one", "other"], 48000.0, ORIGIN)
    with torch.no_grad():
        student.swing.add_(0.01)
    with pytest.raises(DuendeError, match=r"two: the exported graph answers .* dB like the student at amount 1"):
        check_texture(data, "two", student)


def test_the_student_is_causal_and_sees_250_ms(rng: np.random.Generator) -> None:
    student = shaken(TextureStudent(StudentConfig(width=8)))
    field = student.config.receptive_field
    assert field * HOP / RATE >= 0.25
    features = torch.from_numpy(rng.random((1, field + 40, TEXTURE_SIZES.bins + 1)).astype(np.float32))
    changed = features.clone()
    changed[:, 20] += 1.0
    with torch.no_grad():
        difference = (
            (student(changed, torch.ones(1))[0] - student(features, torch.ones(1))[0]).abs().amax(dim=(0, 2, 3))
        )
    assert float(difference[:20].max()) == 0.0
    assert float(difference[20]) > 0.0
    assert float(difference[20 + field :].max()) <= 1e-6


def test_amount_0_asks_for_the_inputs_magnitudes(rng: np.random.Generator) -> None:
    student = shaken(TextureStudent(SMALL))
    features = torch.from_numpy(rng.random((1, 5, TEXTURE_SIZES.bins + 1)).astype(np.float32))
    with torch.no_grad():
        ratios, _ = student(features, torch.tensor([0.5, 0.5]), 0.0)
    wanted = 2.3 * features[..., :-1] + 0.5 * np.log(1e-6)
    assert torch.allclose(ratios[:, :, 0], wanted, atol=1e-5)
    assert float((ratios[:, :, 1] - ratios[:, :, 0]).max()) < 0.0


def test_a_student_has_at_most_600_thousand_parameters() -> None:
    for styles in (1, 4):
        config = StudentConfig(styles=styles, width=TextureConfig().width, templates=TextureConfig().templates)
        assert sum(one.numel() for one in TextureStudent(config).parameters()) <= 600_000


# -- distillation -----------------------------------------------------------------------------------------------------


def test_a_clip_loses_what_is_inaudible_and_gets_a_level(rng: np.random.Generator) -> None:
    clip = noise(rng, 2 * RATE, level_dbfs=-40.0) + np.float32(0.5)
    ready = prepare_clip(clip, RATE)
    assert np.sqrt(np.mean(ready.astype(np.float64) ** 2)) == pytest.approx(0.1, rel=1e-3)
    assert abs(float(ready.mean())) <= 1e-3
    assert len(prepare_clip(np.tile(clip, 20), RATE)) == 30 * RATE


def test_clips_of_which_nothing_can_be_learned_are_refused() -> None:
    with pytest.raises(DuendeError, match="silent"):
        prepare_clip(np.full(RATE, 0.3, dtype=np.float32), RATE)
    distiller = TextureDistiller([plucks(0, 1.9)], QUICK)
    with pytest.raises(DuendeError, match=r"a clip of 0\.20 s: a texture needs at least 0\.43 s"):
        distiller.distil([noise(np.random.default_rng(0), RATE // 5)])


def test_steady_lines_are_tone_and_noise_is_not(rng: np.random.Generator) -> None:
    place = round(1500.0 / RATE * TEXTURE_SIZES.analysis)
    steady = distill._steadiness(noise(rng, 3 * RATE, level_dbfs=-40.0) + tone(1500.0, 3 * RATE))
    # The main lobe has some three bins, and five are smoothed.
    assert steady[place] > 0.5
    assert np.median(steady) < 0.2


def test_distilling_gives_a_student_of_the_clips_sound(distilled: distill.TextureDistilled) -> None:
    assert distilled.complete
    assert len(distilled.history) == QUICK.steps
    assert all(np.isfinite(list(one.values())).all() for one in distilled.history)
    assert distilled.history[-1]["gram"] < 0.1, "the templates of noise start near it"


def test_it_is_as_loud_as_the_input(distilled: distill.TextureDistilled, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(texture_bytes(distilled, "m", ["m"], 48000.0, ORIGIN))
    processor = TextureProcessor(load_model(tmp_path / "m.onnx"))
    processor.prepare(StreamSpec(48000.0, 1, 64 * HOP))
    samples = plucks(9, 3.0)[: 64 * HOP * 16, np.newaxis]
    out = np.zeros_like(samples)
    processor.process(samples, out)
    ratio = 10.0 * np.log10(np.mean(out[RATE:] ** 2) / np.mean(samples[RATE:] ** 2))
    assert abs(ratio) <= 3.0


def test_time_ends_a_training_and_the_student_is_kept() -> None:
    distiller = TextureDistiller([plucks(0, 1.9), plucks(1, 1.9)], QUICK)
    clip = noise(np.random.default_rng(5), 2 * RATE)
    found = distiller.distil([clip], seconds=0.5)
    assert not found.complete
    assert len(found.history) < QUICK.steps


def test_the_same_seed_gives_the_same_student(distilled: distill.TextureDistilled) -> None:
    content = [plucks(seed, QUICK.run_in_seconds + QUICK.seconds) for seed in range(QUICK.pieces)]
    again = TextureDistiller(content, QUICK).distil([noise(np.random.default_rng(5), 3 * RATE, level_dbfs=-20.0)])
    assert again.history == distilled.history


def test_two_styles_take_turns_and_targets_are_heard() -> None:
    content = [plucks(seed, QUICK.run_in_seconds + QUICK.seconds) for seed in range(QUICK.pieces)]
    clips = [noise(np.random.default_rng(5), 2 * RATE), tone(330.0, 2 * RATE)]
    told: list[int] = []
    found = TextureDistiller(content, QUICK).distil(
        clips, lambda progress: told.append(progress.steps), [[piece * 0.5 for piece in content]] * 2
    )
    assert found.student.config.styles == 2
    assert len(found.history) == QUICK.steps + QUICK.steps_per_further_style
    assert told[0] == len(found.history)
    assert "target" in found.history[0]


def test_a_teacher_that_played_the_first_piece_alone_is_heard_there_alone() -> None:
    content = [plucks(seed, QUICK.run_in_seconds + QUICK.seconds) for seed in range(QUICK.pieces)]
    distiller = TextureDistiller(content, QUICK)
    clip = tone(330.0, 2 * RATE)
    first, whole = (
        [row["target"] for row in distiller.distil([clip], targets=[[0.5 * piece for piece in played]]).history]
        for played in (content[:1], content)
    )
    # Two of three pieces a step: the first is among them in some, and counts for half of the error there.
    heard = [error > 0.0 for error in first[: QUICK.steps // 2]]
    assert True in heard
    assert False in heard
    assert all(whole[: QUICK.steps // 2])
    assert heard[0]
    assert 0.3 * whole[0] < first[0] < 0.7 * whole[0]


def test_content_must_warm_the_student_up() -> None:
    with pytest.raises(ValueError, match="shorter than the student's memory"):
        TextureDistiller([plucks(0, 1.0)], TextureConfig(run_in_seconds=0.1))
