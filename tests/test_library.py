"""Presets by name: the player's own before the factory's, and no way out of the folder."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from duende import DuendeError
from duende.presets.format import Preset, SlotPreset, encode_preset, hash_of
from duende.presets.library import Library, check_name, home


def preset(name: str, model: str = "m.onnx") -> Preset:
    return Preset(1, name, [SlotPreset("style", model)])


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Factory presets `cello` and `wood`, and a player without any."""
    factory = tmp_path / "factory"
    factory.mkdir()
    for name in ("cello", "wood"):
        (factory / f"{name}.toml").write_bytes(encode_preset(preset(name)))
    return Library(own=tmp_path / "own" / "presets", factory=factory)


def test_own_presets_hide_factory_ones(library: Library) -> None:
    assert [(entry.name, entry.factory) for entry in library.entries()] == [("cello", True), ("wood", True)]
    entry = library.save("cello", preset("mine"), {"m.onnx": b"model"})
    assert [(one.name, one.factory) for one in library.entries()] == [("cello", False), ("wood", True)]
    assert library.find("cello") == entry
    assert library.find("cello").read().name == "mine"
    assert entry.model_path("m.onnx").read_bytes() == b"model"
    assert library.find("wood").read().name == "wood"


def test_saving_over_a_preset_needs_force(library: Library) -> None:
    library.save("mine", preset("one"), {"m.onnx": b"1"})
    with pytest.raises(DuendeError, match=r"'mine' already: .*--force"):
        library.save("mine", preset("two"), {"m.onnx": b"2"})
    assert library.find("mine").read().name == "one"
    assert library.find("mine").model_path("m.onnx").read_bytes() == b"1"
    library.save("mine", preset("two"), {"m.onnx": b"2"}, force=True)
    assert library.find("mine").read().name == "two"


def test_a_full_disk_leaves_no_half_preset(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up while the preset itself is written, after its model; then while names change."""
    before = {"mine.toml": b"", "m.onnx": b"old", "mine.png": b"old"}
    for force in (False, True):
        if force:
            library.save("mine", preset("old"), {"m.onnx": b"old"}, b"old")
            before["mine.toml"] = (library.own / "mine.toml").read_bytes()
        for place, step in ((os, "fsync"), (Path, "replace")):
            calls = 0
            real = getattr(place, step)

            def full(*arguments: Any, real: Any = real) -> Any:
                nonlocal calls
                calls += 1
                if calls == 3:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return real(*arguments)

            monkeypatch.setattr(place, step, full)
            with pytest.raises(DuendeError, match=r"cannot write .*mine\.toml: No space left"):
                library.save("mine", preset("mine"), {"m.onnx": b"model"}, b"png", force=force)
            monkeypatch.undo()
            assert calls >= 3
            found = {path.name: path.read_bytes() for path in library.own.iterdir()}
            assert found == (before if force else {})


def test_unknown_names_list_what_there_is(library: Library) -> None:
    with pytest.raises(DuendeError, match="no preset 'celo'; there are: cello, wood"):
        library.find("celo")
    with pytest.raises(DuendeError, match="there are: none"):
        Library(own=library.own, factory=library.own).find("x")


@pytest.mark.parametrize("name", ["cello", "a", "0", "my-sound_2", "x" * 63])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


BAD_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "a\\b",
    "/etc/passwd",
    "Cello",
    "a b",
    "a.json",
    "-a",
    "_a",
    "x" * 64,
    "é",
    "a\n",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names_are_refused(name: str, library: Library) -> None:
    with pytest.raises(DuendeError, match="1 to 63 lower-case letters") as caught:
        library.save(name, preset("x"), {})
    assert "\n" not in str(caught.value)
    assert not library.own.exists()


@pytest.mark.parametrize("name", ["../factory/cello", "..", "./cello", "cello.json", "/cello"])
def test_finding_never_leaves_the_folder(name: str, library: Library) -> None:
    with pytest.raises(DuendeError, match="no preset"):
        library.find(name)


@pytest.mark.parametrize("file", ["../m.onnx", "/tmp/m.onnx", "sub/m.onnx", "..\\m.onnx", "m.txt", ""])
def test_model_files_stay_beside_the_preset(file: str, library: Library, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DuendeError, match=r"must be a plain name ending in \.onnx"):
        library.save("mine", preset("x"), {file: b"model"})
    with pytest.raises(DuendeError, match=r"must be a plain name ending in \.onnx"):
        library.save("mine", preset("x", model=file), {})
    assert sorted(tmp_path.rglob("*")) == before


def test_the_players_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUENDE_HOME", str(tmp_path))
    assert home() == tmp_path
    assert Library().own == tmp_path / "presets"
    monkeypatch.delenv("DUENDE_HOME")
    assert home().name == "duende"


def test_factory_presets_can_be_read() -> None:
    library = Library(own=Path("/nonexistent"))
    for entry in library.entries():
        assert entry.factory
        assert entry.read().slots
        for slot in entry.read().slots:
            path = entry.file_of(slot)
            assert path is None or path.is_file()
            assert bool(slot.sha256) == bool(slot.file)


def test_hashes_are_taken_over_and_checked(library: Library) -> None:
    entry = library.save("mine", preset("mine"), {"m.onnx": b"model"})
    (slot,) = entry.read().slots
    assert slot.sha256 == hash_of(b"model")
    assert entry.file_of(slot) == library.own / "m.onnx"
    (library.own / "m.onnx").write_bytes(b"other")
    with pytest.raises(DuendeError, match=rf"mine\.toml: m\.onnx .*expected {slot.sha256}, found {hash_of(b'other')}"):
        entry.file_of(slot)
    (library.own / "m.onnx").unlink()
    with pytest.raises(DuendeError, match=r"mine\.toml: cannot read m\.onnx: No such file"):
        entry.file_of(slot)
    assert entry.file_of(SlotPreset("fx", effect="delay")) is None


def test_presets_do_not_take_each_others_models(library: Library) -> None:
    """Two presets share a file while it is the same; another one of its name gets a name of its own."""
    library.save("one", preset("one"), {"m.onnx": b"model"})
    library.save("two", preset("two"), {"m.onnx": b"model"})
    library.save("three", preset("three"), {"m.onnx": b"other"})
    assert [library.find(name).read().slots[0].file for name in ("one", "two", "three")] == [
        "m.onnx",
        "m.onnx",
        f"m-{hash_of(b'other')[:12]}.onnx",
    ]
    for name, model in (("one", b"model"), ("two", b"model"), ("three", b"other")):
        entry = library.find(name)
        assert entry.read_file(entry.read().slots[0]) == model


def test_deleting_leaves_what_others_use(library: Library) -> None:
    library.save("one", preset("one"), {"m.onnx": b"model"}, b"png")
    library.save("two", preset("two"), {"m.onnx": b"model"})
    assert library.delete("one") == ["one.toml", "one.png"]
    assert library.find("two").read_file(library.find("two").read().slots[0]) == b"model"
    assert library.delete("two") == ["two.toml", "m.onnx"]
    assert list(library.own.iterdir()) == []
    with pytest.raises(DuendeError, match=r"'wood' comes with duende and cannot be deleted; .*duende preset save wood"):
        library.delete("wood")
    with pytest.raises(DuendeError, match="no preset 'one'"):
        library.delete("one")


def test_a_preset_nobody_can_read_keeps_all_models(library: Library) -> None:
    library.save("one", preset("one"), {"m.onnx": b"model"})
    (library.own / "broken.toml").write_bytes(b"broken")
    assert library.delete("one") == ["one.toml"]
    assert library.delete("broken") == ["broken.toml"]
    assert (library.own / "m.onnx").is_file()


def test_replacing_a_preset_removes_what_only_it_used(library: Library) -> None:
    library.save("one", preset("one"), {"m.onnx": b"model"})
    library.save("one", preset("one", "n.onnx"), {"n.onnx": b"new"}, force=True)
    assert sorted(path.name for path in library.own.iterdir()) == ["n.onnx", "one.toml"]


def test_renaming_takes_the_picture_along(library: Library) -> None:
    library.save("one", preset("one"), {"m.onnx": b"model"}, b"png")
    entry = library.rename("one", "two")
    assert sorted(path.name for path in library.own.iterdir()) == ["m.onnx", "two.png", "two.toml"]
    assert entry.read().name == "two"
    library.save("one", preset("one"), {"m.onnx": b"model"})
    with pytest.raises(DuendeError, match="'two' already"):
        library.rename("one", "two")
    with pytest.raises(DuendeError, match="'wood' comes with duende and cannot be renamed"):
        library.rename("wood", "tree")
    with pytest.raises(DuendeError, match="preset name"):
        library.rename("one", "../x")


def test_presets_of_format_1_are_listed_and_written_anew(library: Library) -> None:
    library.own.mkdir(parents=True)
    (library.own / "old.json").write_text(
        '{"format": 1, "name": "old", "slots": [{"kind": "style", "model": "m.onnx"}]}'
    )
    (library.own / "m.onnx").write_bytes(b"model")
    entry = library.find("old")
    assert entry.path.name == "old.json"
    with pytest.raises(DuendeError, match="'old' already"):
        library.save("old", entry.read(), {})
    library.save("old", entry.read(), {"m.onnx": b"model"}, force=True)
    assert library.find("old").path.name == "old.toml"
    assert sorted(path.name for path in library.own.iterdir()) == ["m.onnx", "old.toml"]


def test_set_lists_follow_a_preset_that_is_renamed(library: Library) -> None:
    for name in ("one", "other"):
        library.save(name, preset(name), {"m.onnx": b"model"})
    lists = library.set_lists
    lists.write("evening", ["one", "other", "one"])
    lists.write("matinee", ["other"])
    (lists.folder / "broken.toml").write_text("broken")
    before = (lists.folder / "matinee.toml").read_bytes()
    library.rename("one", "two")
    assert lists.read("evening") == ["two", "other", "two"]
    assert (lists.folder / "matinee.toml").read_bytes() == before
    assert (lists.folder / "broken.toml").read_text() == "broken"


def test_a_preset_of_a_set_list_is_not_deleted_by_accident(library: Library) -> None:
    for name in ("one", "other", "wood"):
        library.save(name, preset(name), {"m.onnx": b"model"})
    lists = library.set_lists
    lists.write("evening", ["one", "other", "one"])
    lists.write("late", ["one"])
    with pytest.raises(DuendeError, match=r"preset 'one' is in the set lists evening, late: .* with --force"):
        library.delete("one")
    assert library.find("one").path.is_file()
    assert library.delete("one", force=True) == ["one.toml", "late.toml"]
    assert lists.names() == ["evening"]
    assert lists.read("evening") == ["other"]
    # Without the player's, the list names the factory's of the same name.
    lists.write("evening", ["wood"])
    assert library.delete("wood") == ["wood.toml"]
    assert lists.read("evening") == ["wood"]
    library.find("wood")
