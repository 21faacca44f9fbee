"""What the checks say about takes that are broken in one known way each."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from capture_takes import RATE, Samples, amplifier, delayed, played, the_signal
from duende import DuendeError
from duende.export.capture.align import align
from duende.export.capture.checks import (
    Finding,
    check_alignment,
    check_levels,
    check_take,
    clipped_runs,
    read_pair,
    read_sound,
    replicate_error,
)
from duende.export.capture.signal import Layout
from duende.export.capture.take import aligned_take


def checked(dry: Samples, wet: Samples, plan: Layout | None = None) -> list[Finding]:
    alignment = align(dry, wet, RATE, plan)
    take = aligned_take(dry, wet, RATE, alignment.shift, plan)
    found = check_levels(dry, wet, RATE) + check_alignment(dry, wet, RATE, alignment, plan)
    return found + check_take(take, plan)


def texts(findings: list[Finding]) -> str:
    return " | ".join(finding.text for finding in findings)


def test_a_good_take_gives_no_reason_to_talk() -> None:
    signal, plan = the_signal()
    noise = np.random.default_rng(1).standard_normal(len(signal)).astype(np.float32)
    wet = delayed(amplifier(signal), 240.4) + np.float32(1e-5) * noise
    assert checked(signal, wet, plan) == []
    dry = played(12.0)
    assert checked(dry, amplifier(dry)) == []


def test_swapped_files() -> None:
    signal, plan = the_signal()
    found = checked(signal, delayed(signal, -20.0), plan)
    assert found[0].fatal
    assert "before DRY: are the two files swapped?" in found[0].text
    dry = played(12.0)
    late = checked(delayed(amplifier(dry), 300.0), dry)
    assert late[0].fatal
    assert "are the two files swapped?" in late[0].text
    # Without latency between them, the harder one is the amplifier's.
    level = checked(amplifier(dry, 30.0), dry)
    assert level[0].fatal
    assert "are the two files swapped?" in level[0].text


def test_clipping_is_counted_in_places() -> None:
    tone = np.sin(np.arange(RATE) * 0.01).astype(np.float32)
    assert clipped_runs(0.9 * tone) == 0
    assert clipped_runs(np.clip(1.3 * tone, -1.0, 1.0)) == pytest.approx(2 * RATE * 0.01 / (2 * np.pi), abs=1)
    assert clipped_runs(np.clip(1.3 * tone, -0.1, 0.1)) == 0


def test_clipped_wet_is_fatal_and_says_what_to_turn() -> None:
    dry = played(12.0)
    wet = np.clip(4.0 * dry / np.abs(dry).max(), -1.0, 1.0)
    (found,) = check_levels(dry, wet, RATE)
    assert found.fatal
    assert found.text.startswith("WET is clipped in ")
    assert "turn the recording level down" in found.text


def test_levels() -> None:
    dry = played(12.0)
    with pytest.raises(DuendeError, match="WET is silent"):
        check_levels(dry, np.zeros_like(dry), RATE)
    assert "DRY is very quiet" in texts(check_levels(dry * np.float32(1e-3 / np.abs(dry).max()), dry, RATE))


def test_noise_is_said_with_its_level() -> None:
    signal, plan = the_signal()
    wet = amplifier(signal)
    level = np.sqrt(np.mean(wet[plan.silence.start : plan.playing.stop] ** 2))
    noise = np.random.default_rng(1).standard_normal(len(wet)).astype(np.float32)
    found = checked(signal, wet + 0.03 * level * noise, plan)
    assert "noise is only 30 dB below the playing" in texts(found)
    assert not any("noise" in one.text for one in checked(signal, wet + 0.001 * level * noise, plan))


def test_the_replicate_error_is_that_of_the_phrase() -> None:
    signal, plan = the_signal()
    wet = amplifier(signal)
    again = wet.copy()
    again[plan.again.start : plan.again.stop] *= np.float32(1.1)
    take = aligned_take(signal, again, RATE, 0, plan)
    assert replicate_error(take, plan) == pytest.approx(0.01, rel=0.01)
    again[plan.again.start : plan.again.stop] *= np.float32(1.2)
    found = check_take(aligned_take(signal, again, RATE, 0, plan), plan)
    assert found[0].fatal
    assert "different the second time" in found[0].text
    assert replicate_error(aligned_take(signal, wet, RATE, 0, None), None) is None


def test_drift_is_warned_of_then_refused() -> None:
    signal, plan = the_signal()
    wet = amplifier(signal)
    at = np.arange(len(wet))
    slow, fast = (np.interp(at / (1.0 + ppm), at, wet).astype(np.float32) for ppm in (7e-7, 20e-6))
    assert "drifts by" in texts(checked(signal, slow, plan))
    assert not any(x.fatal for x in checked(signal, slow, plan))
    assert any(one.fatal and "two clocks" in one.text for one in checked(signal, fast, plan))


def test_drop_outs() -> None:
    dry = played(12.0)
    wet = amplifier(dry)
    loud = [int(np.argmax(np.abs(dry[start : start + RATE]))) + start for start in range(0, 8 * RATE, 2 * RATE)]
    for start in loud:
        wet[start : start + RATE // 6] = 0.0
    assert any(one.fatal and "drop-outs" in one.text for one in checked(dry, wet))


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DuendeError, match=r"DRY .*none\.wav: no such file"):
        read_sound(tmp_path / "none.wav", "DRY")
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(DuendeError, match="not a readable sound file"):
        read_sound(tmp_path / "text.wav", "WET")
    with pytest.raises(DuendeError, match="is empty"):
        read_sound(write(tmp_path / "empty.wav", np.zeros(0, np.float32)), "DRY")
    with pytest.raises(DuendeError, match=r"3\.0 s long: 10 s to 20 minutes"):
        read_sound(write(tmp_path / "short.wav", played(3.0)), "DRY")
    damaged = played(12.0)
    damaged[700] = np.nan
    with pytest.raises(DuendeError, match="not numbers"):
        read_sound(write(tmp_path / "nan.wav", damaged), "DRY")


def test_channels(tmp_path: Path) -> None:
    mono = played(12.0)
    for number, other in enumerate((mono, np.zeros_like(mono))):
        path = write(tmp_path / f"{number}.wav", np.stack([other, mono], axis=1))
        np.testing.assert_array_equal(read_sound(path, "WET")[0], mono)
    with pytest.raises(DuendeError, match="its 2 channels differ"):
        read_sound(write(tmp_path / "two.wav", np.stack([played(12.0, 9), mono], axis=1)), "WET")


def test_pairs_that_do_not_belong_together(tmp_path: Path) -> None:
    dry = write(tmp_path / "dry.wav", played(12.0))
    with pytest.raises(DuendeError, match="DRY has 48000 Hz and WET 44100 Hz"):
        read_pair(dry, write(tmp_path / "rate.wav", played(12.0), 44100))
    with pytest.raises(DuendeError, match=r"12\.00 s long and WET 14\.00 s"):
        read_pair(dry, write(tmp_path / "long.wav", played(14.0)))


def test_other_rates_become_48_khz(tmp_path: Path) -> None:
    path = write(tmp_path / "fast.wav", played(24.0), 96000)
    first, second, rate, findings = read_pair(path, path)
    assert rate == 48000
    assert len(first) == len(second) == 12 * 48000
    assert "converted to 48000 Hz" in findings[0].text
    assert read_pair(*[write(tmp_path / "cd.wav", played(12.0), 44100)] * 2)[2] == 44100
