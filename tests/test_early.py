"""Processes begun before it is known what they are to do: taken once, ended where nobody takes them, without a word."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from duende import DuendeError, __main__
from duende.engine.control.early import CONTROL, ENGINE, Early, begin


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """All processes of the test, in the order in which they were begun; ended after it."""
    found = []
    real = subprocess.Popen

    def noted(*given: object, **named: object) -> "subprocess.Popen[bytes]":
        process = real(*given, **named)  # type: ignore[call-overload]
        found.append(process)
        return process  # type: ignore[no-any-return]

    monkeypatch.setattr(subprocess, "Popen", noted)
    yield found
    for process in found:
        process.kill()
        process.communicate()


def test_what_was_begun_is_taken_once(begun: list["subprocess.Popen[bytes]"]) -> None:
    early = Early(ENGINE)
    assert early.take(ENGINE) is begun[0]
    assert early.take(ENGINE) is begun[1]
    assert early.take(CONTROL) is begun[2]
    early.close()
    assert [process.poll() for process in begun] == [None] * 3, "what was taken goes on"


def test_what_has_died_meanwhile_is_begun_again(begun: list["subprocess.Popen[bytes]"]) -> None:
    early = Early(ENGINE)
    begun[0].kill()
    begun[0].wait()
    assert early.take(ENGINE) is begun[1]


def test_a_host_that_is_refused_leaves_no_process(
    begun: list["subprocess.Popen[bytes]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["duende", "live", "--preset", "no such preset"])
    with pytest.raises(SystemExit, match="1"):
        __main__.main()
    assert len(begun) == 2
    assert all(process.poll() is not None for process in begun)


def test_other_commands_begin_none(begun: list["subprocess.Popen[bytes]"], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["duende", "presets"])
    with pytest.raises(SystemExit, match="0"):
        __main__.main()
    assert begun == []


@pytest.mark.parametrize("module", [ENGINE, CONTROL])
def test_they_end_without_a_word_where_nothing_is_to_be_played(
    module: str, begun: list["subprocess.Popen[bytes]"], capfd: pytest.CaptureFixture[str]
) -> None:
    process = begin(module)
    told, _ = process.communicate()
    assert (process.returncode, told) == (0, b"")
    assert capfd.readouterr().err == ""


def test_a_failure_of_the_command_line_ends_them(
    begun: list["subprocess.Popen[bytes]"], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from duende.engine.control import show

    def refuse(*given: object, **named: object) -> None:
        raise DuendeError("no such thing")

    monkeypatch.setattr(show, "Show", refuse)
    monkeypatch.setattr(sys, "argv", ["duende", "live"])
    with pytest.raises(SystemExit, match="1"):
        __main__.main()
    assert "no such thing" in capsys.readouterr().err
    assert all(process.poll() is not None for process in begun)
