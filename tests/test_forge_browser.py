"""The forge page in a real browser: a recording dropped, learned in sight, kept, and played by the host."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from duende.presets.pack import pack
from sessions import tiny_library
from signals import tone
from stage import SIZES, Browser, Host, free_port
from waiting import wait_until

pytest.importorskip("nicegui")
pytest.importorskip("selenium")

pytestmark = pytest.mark.live("chromium", "chromedriver")

HERE = Path(__file__).parent
PROGRAM = """
import sys
import duende.gui.forge
duende.gui.forge.DUENDE = (sys.executable, "-S", sys.argv.pop(1), sys.argv.pop(1))
from duende.__main__ import main
main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("smithy")
    library = tiny_library(folder / "made")
    for name in ("slow-bell", "one"):
        library.duplicate("solo", name)
        pack(library.find(name), folder / f"{name}.duende")
    soundfile.write(folder / "Slow Bell.wav", tone(880.0, 96000), 48000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUENDE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def host(folder: Path) -> Iterator[Host]:
    one = Host(folder / "host")
    yield one
    one.end()


@pytest.fixture(scope="module")
def url(folder: Path, host: Host) -> Iterator[str]:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    where = ["gui", "--connect", f"127.0.0.1:{host.http_port}", "--port", str(port)]
    program = [sys.executable, "-c", PROGRAM, str(HERE / "smithy.py"), str(folder), *where]
    gui = subprocess.Popen(program, env=environment)
    url = f"http://127.0.0.1:{port}/"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except OSError:
            return False

    wait_until(answers, "the GUI answers")
    yield url
    gui.terminate()
    gui.wait(30)


@pytest.fixture
def browser(folder: Path, host: Host, url: str, tmp_path: Path) -> Iterator[Browser]:
    one = Browser(tmp_path / "chromium")
    one.open(url, "forge")
    yield one
    complaints = one.complaints()
    one.quit()
    assert [words for words in complaints if "status of 40" not in words] == []


def bring(browser: Browser, path: Path) -> None:
    browser.all(".hearth input[type=file]")[0].send_keys(str(path))


def press(browser: Browser, selector: str) -> None:
    browser.script("arguments[0].click()", browser.find(selector))


def phase(browser: Browser) -> str:
    return str(browser.find(".hearth").get_attribute("data-phase"))


def lit(browser: Browser, picture: str) -> int:
    """How many different colours a canvas shows."""
    return int(
        browser.script(
            "const c = arguments[0]; const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "return new Set(new Uint32Array(d.buffer)).size",
            browser.find(f".hearth canvas[aria-label='{picture}']"),
        )
    )


def test_a_recording_becomes_a_preset_that_plays(browser: Browser, host: Host, folder: Path) -> None:
    bring(browser, folder / "Slow Bell.wav")
    wait_until(lambda: phase(browser) == "ready", "it is taken in")
    assert browser.find(".hearth .name").get_attribute("value") == "slow-bell"
    press(browser, ".hearth .strike")
    wait_until(
        lambda: "after 1 steps" not in browser.text(".hearth") and "after " in browser.text(".hearth"), "it grows"
    )
    assert lit(browser, "Spectrogram of the recording") > 20
    assert lit(browser, "Spectrogram of what it plays by now") > 20
    assert lit(browser, "How the distance falls") > 3
    browser.open(browser.driver.current_url.split("#")[0], "forge")
    wait_until(lambda: phase(browser) == "forging", "a page that comes later sees the same")
    wait_until(lambda: lit(browser, "Spectrogram of the recording") > 20, "with its pictures")
    press(browser, ".hearth .pairs .wide")
    wait_until(lambda: phase(browser) == "done", "the best so far is kept")
    assert "slow-bell" in map(str, host.ask("preset/list"))
    press(browser, ".hearth .play-it")
    wait_until(lambda: host.value("preset/current") == "slow-bell", "the host plays it")
    host.ask("preset/load", "duo")
    press(browser, ".hearth .fields .strike")
    wait_until(lambda: bool(browser.all(".hearth .strike.again")), "its name is taken now")
    press(browser, ".hearth .strike.again")
    wait_until(lambda: phase(browser) == "forging", "it is to be replaced")
    press(browser, ".hearth .pairs .danger")
    wait_until(lambda: phase(browser) == "ready", "cancelled")


def test_what_was_played_is_taken_and_rubbish_is_not(browser: Browser, host: Host, folder: Path) -> None:
    (folder / "rubbish.wav").write_bytes(b"no sound")
    before = phase(browser)
    bring(browser, folder / "rubbish.wav")
    wait_until(lambda: "no sound file" in browser.text(".hearth .trouble"), "it is refused")
    assert phase(browser) == before
    block = tone(220.0, 3 * 48000)[:, np.newaxis]
    host.session.shared.keep(block, block)
    press(browser, ".hearth .played")
    wait_until(lambda: "what was played" in browser.text(".hearth .held"), "it is taken")
    assert "3.0 s" in browser.text(".hearth .held")


@pytest.mark.parametrize("size", SIZES)
def test_it_fits_every_screen(browser: Browser, size: str) -> None:
    browser.resize(size)
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    wait_until(lambda: int(browser.script(wide)) == 0, "nothing sticks out")
    small = """
      return [...document.querySelectorAll(".hearth :is(button, a)")].filter((one) => one.offsetParent)
        .filter((one) => one.getBoundingClientRect().height < 44 || !(one.innerText.trim() || one.ariaLabel))
        .map((one) => one.outerHTML)"""
    assert browser.script(small) == []


def test_nobody_else_reaches_it(url: str) -> None:
    for path, body in (("forge/start", b'{"name": "one"}'), ("forge/style", b"x"), ("forge/cancel", b"")):
        request = urllib.request.Request(url + path, body, {"Origin": "http://elsewhere.example"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        with refused.value as answer:
            assert answer.code == 403
