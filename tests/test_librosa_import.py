"""librosa is compiled by one process at a time."""

import fcntl
import sys
from pathlib import Path
from types import ModuleType

import pytest

from duende import DuendeError
from duende.export import librosa_import
from duende.export.librosa_import import load_librosa

pytestmark = pytest.mark.train
librosa = pytest.importorskip("librosa")


def is_locked() -> bool:
    with Path(librosa.__file__).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@pytest.mark.parametrize("beats", [False, True])
def test_what_compiles_is_imported_by_one_process_at_a_time(beats: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    locked: dict[str, bool] = {}

    def importing(name: str) -> ModuleType:
        if name != "librosa":
            locked[name] = is_locked()
            return ModuleType(name)
        return sys.modules[name]

    for name in ("librosa.util.utils", "librosa.core.audio", "librosa.core.pitch", "librosa.beat"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("importlib.import_module", importing)
    assert load_librosa(beats=beats) is librosa
    assert all(locked.values())
    assert {"librosa.util.utils", "librosa.core.audio", "librosa.core.pitch"} <= set(locked)
    assert ("librosa.beat" in locked) == beats
    assert not is_locked()


def test_nothing_is_locked_once_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    load_librosa()
    monkeypatch.delattr(librosa_import, "_alone")
    load_librosa()


def test_every_function_of_librosa_that_is_compiled_at_import_is_known() -> None:
    folder = Path(librosa.__file__).parent
    compiled = {
        ".".join(("librosa", *file.relative_to(folder).with_suffix("").parts))
        for file in folder.rglob("*.py")
        if "guvectorize(" in file.read_text(encoding="utf-8")
    }
    assert compiled == {*librosa_import._COMPILED, librosa_import._BEATS}


def test_without_it_the_reason_and_the_way_out_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "librosa", None)
    with pytest.raises(DuendeError, match=r"^measuring a sound needs librosa: pip install 'duende\[train\]'$"):
        load_librosa()
    with pytest.raises(DuendeError, match=r"^finding the tempo needs librosa"):
        load_librosa("finding the tempo")
