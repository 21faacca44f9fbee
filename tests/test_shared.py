"""One buffer, several views: the same values on both sides, and no other version."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from duende import DuendeError
from duende.engine.params import ParameterBank
from duende.engine.preset import build_rig
from duende.engine.shared import SIZE_BYTES, SharedState
from duende.engine.telemetry import Telemetry


def test_views_fill_the_buffer_and_do_not_overlap() -> None:
    buffer = np.zeros(SIZE_BYTES, dtype=np.uint8)
    shared = SharedState(buffer)
    parts: list[npt.NDArray[Any]] = [shared.dry, shared.wet]
    parts += [shared.header, shared.counters, shared.histogram, shared.pages, shared.levels, shared.durations]
    parts += [shared.slot_times]
    views = [part.reshape(-1).view(np.uint8) for part in parts]

    assert sum(view.nbytes for view in views) == SIZE_BYTES
    for number, view in enumerate(views, start=1):
        view[:] = number
    assert np.unique(buffer).tolist() == list(range(1, len(views) + 1))
    assert all((view == number).all() for number, view in enumerate(views, start=1))
    assert all(view.ctypes.data % 8 == 0 for view in views)


def test_two_banks_see_the_same_targets() -> None:
    buffer = np.zeros(SIZE_BYTES, dtype=np.uint8)
    control, audio = ParameterBank(SharedState(buffer).pages[0]), ParameterBank(SharedState(buffer).pages[0])
    audio.prepare(48000.0, [128])
    control.set("mix", 0.25)
    control.set("output/gain", -12.0)
    assert (audio.get("mix"), audio.get("output/gain")) == (0.25, -12.0)
    for _ in range(100):
        audio.step(128)
    assert audio.value(audio.table.find("mix")[0]) == pytest.approx(0.25)
    assert audio.value(audio.table.find("output/gain")[0]) == pytest.approx(10.0 ** (-12.0 / 20.0))


def test_a_rig_on_used_state_keeps_its_values() -> None:
    memory = np.zeros(SIZE_BYTES, dtype=np.uint8)
    first = build_rig([], SharedState(memory))
    assert first.bank.get("amount") == 1.0
    first.bank.set("amount", 0.25)
    again = build_rig([], SharedState(memory))
    assert again.bank.get("amount") == 0.25


def test_two_telemetries_see_the_same_counts() -> None:
    buffer = np.zeros(SIZE_BYTES, dtype=np.uint8)
    audio, reader = Telemetry(SharedState(buffer)), Telemetry(SharedState(buffer))
    audio.add("late", 3)
    assert reader.count("late") == 3


def test_a_mapped_file_carries_it(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(bytes(SIZE_BYTES))
    one, other = (np.memmap(path, dtype=np.uint8, mode="r+", shape=(SIZE_BYTES,)) for _ in range(2))
    bank = ParameterBank(SharedState(one).pages[0])
    bank.set("amount", 0.5)
    place = bank.table.find("amount")[0]
    assert SharedState(other).pages[0][place] == 0.5


@pytest.mark.parametrize("field", [0, 1, 2])
def test_another_version_is_refused(field: int) -> None:
    buffer = np.zeros(SIZE_BYTES, dtype=np.uint8)
    SharedState(buffer).header[field] += 1
    with pytest.raises(DuendeError, match="restart both sides") as caught:
        SharedState(buffer)
    assert "\n" not in str(caught.value)


def test_a_buffer_of_another_shape_is_refused() -> None:
    for wrong in (np.zeros(SIZE_BYTES - 8, dtype=np.uint8), np.zeros(SIZE_BYTES // 8)):
        with pytest.raises(ValueError, match=f"needs uint8 .{SIZE_BYTES}."):
            SharedState(wrong)  # type: ignore[arg-type]
