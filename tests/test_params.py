"""The parameter table row by row, and values that follow their targets without a step in value or slope."""

import numpy as np
import numpy.typing as npt
import pytest

from duende import DuendeError
from duende.engine.params import (
    GLOBALS,
    MAX_SLOTS,
    PARAMETER_COUNT,
    PER_SLOT,
    SLOT_CONTROLS,
    Parameter,
    ParameterBank,
    ParameterTable,
    slot_index,
    slot_parameters,
)

Float64 = npt.NDArray[np.float64]

RATE = 48000.0
CONTROL = Parameter("slot/1/colour", "float", "Hz", 100.0, 5000.0, 700.0, "linear", 20.0, "for tests")
ROWS = [*GLOBALS, *slot_parameters(1), CONTROL]
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def bank_with_slot() -> ParameterBank:
    bank = ParameterBank(np.zeros(PARAMETER_COUNT))
    bank.set_slot(0, [CONTROL])
    return bank


def used(row: Parameter, value: float) -> float:
    """A value in the unit that the audio thread uses."""
    return 10.0 ** (value / 20.0) if row.curve == "decibel" else value


def test_the_table_holds_these_rows_in_order() -> None:
    assert bank_with_slot().table.rows() == ROWS
    assert len({row.name for row in ROWS}) == len(ROWS)


@each_row
def test_row_is_sound(row: Parameter) -> None:
    assert row.minimum <= row.default <= row.maximum
    assert row.kind in ("float", "switch")
    assert row.curve in ("linear", "decibel")
    assert (row.curve == "decibel") == (row.unit == "dB")
    if row.kind == "switch":
        assert (row.minimum, row.maximum) == (0.0, 1.0)
    assert row.lag_ms >= 0.0
    assert row.description


@each_row
def test_check_takes_the_range_and_nothing_else(row: Parameter) -> None:
    for value in (row.minimum, row.default, row.maximum):
        assert row.check(value) == value
    span = row.maximum - row.minimum
    for value in (row.minimum - 1e-6 * span, row.maximum + 1e-6 * span, np.inf, -np.inf, np.nan):
        with pytest.raises(DuendeError) as caught:
            row.check(value)
        text = str(caught.value)
        assert text.startswith(row.name)
        assert f"{row.minimum:g} to {row.maximum:g}" in text
        assert "\n" not in text


@each_row
def test_default_set_get_and_address_round_trip(row: Parameter) -> None:
    bank = bank_with_slot()
    assert bank.get(row.name) == row.default
    assert row.address == f"/duende/{row.name}"
    for name in (row.name, row.address, f"{row.address}/", f" {row.name} "):
        assert bank.table.find(name)[1] == row
    bank.set(row.address, row.minimum)
    assert bank.get(row.name) == row.minimum
    with pytest.raises(DuendeError):
        bank.set(row.name, row.maximum + 1.0)
    assert bank.get(row.name) == row.minimum


@each_row
@pytest.mark.parametrize("block", [1, 64, 160])
def test_a_change_has_nearly_arrived_after_its_lag(row: Parameter, block: int) -> None:
    bank = bank_with_slot()
    bank.prepare(RATE, [block])
    index, _ = bank.table.find(row.name)
    goal = row.minimum if row.default == row.maximum else row.maximum
    start, end = used(row, row.default), used(row, goal)
    assert bank.value(index) == pytest.approx(start)
    bank.set(row.name, goal)
    for _ in range(int(row.lag_ms * 1e-3 * RATE) // block):
        bank.step(block)
    share = (bank.value(index) - start) / (end - start)
    assert 0.95 <= share <= 0.97
    for _ in range(int(0.2 * RATE) // block):
        bank.step(block)
    assert bank.value(index) == pytest.approx(end, rel=1e-5)
    assert bank.still(index)
    assert not bank.moving


def critically_damped(targets: Float64, start: float, time_samples: float) -> Float64:
    """Two one-poles in a row, each solved exactly from sample to sample."""
    lead = value = start
    keep = np.exp(-1.0 / time_samples)
    out = np.empty(len(targets))
    for at, target in enumerate(targets):
        value = target + (value - target) * keep + (lead - target) / time_samples * keep
        lead = target + (lead - target) * keep
        out[at] = value
    return out


@pytest.mark.parametrize("sizes", [[64], [128], [256, 128], [1, 64, 128, 300, 7]], ids=str)
def test_value_and_slope_are_continuous_across_blocks(sizes: list[int], rng: np.random.Generator) -> None:
    bank = bank_with_slot()
    bank.prepare(RATE, sizes)
    index, _ = bank.table.find("mix")
    line: list[Float64] = []
    wanted: list[Float64] = []
    for turn in range(400):
        if turn % 20 == 5:
            bank.set("mix", float(rng.random()))
        size = sizes[turn % len(sizes)]
        bank.step(size)
        line.append(bank.ramp(index, size, turn % 8).astype(np.float64))
        wanted.append(np.full(size, bank.get("mix")))
        assert line[-1][-1] == pytest.approx(bank.value(index), abs=1e-6)
    whole = np.concatenate([[1.0, 1.0], *line])
    time = 0.02 * RATE / 5.0
    # The exact solution never bends by more than 1 / time**2; a cubic through its values and slopes by little more.
    assert np.abs(np.diff(whole, 2)).max() <= 4.0 / time**2
    assert np.abs(whole[2:] - critically_damped(np.concatenate(wanted), 1.0, time)).max() <= 0.02
    assert np.ptp(whole) > 0.5


def test_only_what_moves_is_moving() -> None:
    bank = bank_with_slot()
    bank.prepare(RATE, [128])
    assert not bank.due()
    bank.set("mix", 0.5)
    assert bank.due()
    bank.step(128)
    mix, bypass = (bank.table.find(name)[0] for name in ("mix", "bypass"))
    assert bank.moving
    assert not bank.still(mix)
    assert bank.still(bypass)
    assert (bank.ramp(bypass, 128, 0) == 0.0).all()
    bank.jump()
    assert bank.value(mix) == 0.5
    assert bank.still(mix)


def test_unknown_names_list_what_there_is() -> None:
    bank = bank_with_slot()
    for name in ("mixx", "", "slot/2/mix", "/duende/nothing"):
        with pytest.raises(DuendeError) as caught:
            bank.set(name, 0.0)
        assert repr(name) in str(caught.value)
        assert all(row.name in str(caught.value) for row in ROWS)


def test_slots_get_their_own_places() -> None:
    table = ParameterTable()
    controls = [
        Parameter(f"slot/{MAX_SLOTS}/c{i}", "float", "", 0.0, 1.0, 0.0, "linear", 20.0, "c")
        for i in range(SLOT_CONTROLS)
    ]
    table.set_slot(MAX_SLOTS - 1, controls)
    table.set_slot(0, [])
    places = [table.find(row.name)[0] for row in table.rows()]
    assert places == sorted(set(places))
    assert places[-1] == PARAMETER_COUNT - 1
    assert table.find("slot/1/bypass")[0] == slot_index(0) == slot_index(1) - PER_SLOT
    table.set_slot(MAX_SLOTS - 1, controls[:1])
    with pytest.raises(DuendeError, match="no parameter"):
        table.find(f"slot/{MAX_SLOTS}/c1")


def test_limits_of_slots_and_controls_are_named() -> None:
    table = ParameterTable()
    with pytest.raises(DuendeError, match=f"slot {MAX_SLOTS + 1}: a chain has at most {MAX_SLOTS}"):
        table.set_slot(MAX_SLOTS, [])
    with pytest.raises(DuendeError, match=f"{SLOT_CONTROLS + 1} controls, a slot has at most {SLOT_CONTROLS}"):
        table.set_slot(0, [CONTROL] * (SLOT_CONTROLS + 1))


def test_targets_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="need float64"):
        ParameterBank(np.zeros(3))
    with pytest.raises(ValueError, match="need float64"):
        ParameterBank(np.zeros(PARAMETER_COUNT, dtype=np.float32))
