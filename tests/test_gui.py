"""The GUI in a real browser, on a host without sound: what hands do reaches the host, what the host does is seen."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from duende.presets.format import FORMAT, Preset
from duende.presets.library import Library
from duende.presets.pack import pack
from stage import SIZES, Browser, Gui, Host
from waiting import wait_until

pytest.importorskip("nicegui")
pytest.importorskip("selenium")

from selenium.webdriver import ActionChains, Keys

pytestmark = pytest.mark.live("chromium", "chromedriver")

NEAR = 0.02

CONTROLS = """
const all = [...document.querySelectorAll(".duende :is(button, [role=slider], input:not([type=file]))")]
  .filter((one) => one.offsetParent);
const name = (one) => one.getAttribute("aria-label") || one.innerText.trim();
const box = (one) => one.getBoundingClientRect();
const small = (one) => one.tabIndex >= 0 && !one.matches("input") && Math.min(box(one).width, box(one).height) < 40;
const outside = (one) => box(one).left < -1 || box(one).right > innerWidth + 1;
return [(one) => !name(one), small, outside].map((wrong) => all.filter(wrong).map((one) => one.outerHTML));
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("stage")
    before = os.environ.get("DUENDE_HOME")
    os.environ["DUENDE_HOME"] = str(folder)
    one = Host(folder)
    yield one
    one.end()
    if before is None:
        del os.environ["DUENDE_HOME"]
    else:
        os.environ["DUENDE_HOME"] = before


@pytest.fixture(scope="module")
def gui(host: Host) -> Iterator[Gui]:
    one = Gui(f"127.0.0.1:{host.http_port}")
    yield one
    words = one.end()
    assert "Traceback" not in words, words


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    one = Browser(tmp_path_factory.mktemp("chromium"))
    yield one
    one.quit()


@pytest.fixture
def browser(chromium: Browser, host: Host, gui: Gui) -> Iterator[Browser]:
    """On the page for playing, on a desktop, with the preset duo as it is stored."""
    host.ask("preset/load", "duo")
    chromium.resize("desktop")
    chromium.open(gui.url)
    chromium.complaints()
    yield chromium
    assert chromium.complaints() == []


def drag(browser: Browser, element: object, right: int, down: int) -> None:
    """With the mouse, in steps as a hand makes them."""
    chain = ActionChains(browser.driver, duration=20).click_and_hold(element)  # type: ignore[arg-type]
    for _ in range(5):
        chain.move_by_offset(right // 5, down // 5)
    chain.release().perform()


def test_a_turned_knob_reaches_the_host(browser: Browser, host: Host) -> None:
    browser.go("chain")
    dial = browser.dial("output/gain")
    before = float(host.value("output/gain"))  # type: ignore[arg-type]
    drag(browser, dial, 0, 60)
    wait_until(lambda: float(host.value("output/gain")) < before - 5.0, "it is turned down")  # type: ignore[arg-type]
    assert browser.turned("output/gain") == pytest.approx(host.value("output/gain"), abs=NEAR)
    # What the host says while the hand's own value still stands is not forgotten.
    drag(browser, dial, 0, -20)
    host.ask("output/gain", 3.0)
    wait_until(lambda: browser.turned("output/gain") == 3.0, "the host's last word")


def test_sideways_it_is_fine(browser: Browser, host: Host) -> None:
    browser.go("chain")
    dial = browser.dial("mix")
    host.ask("mix", 1.0)
    wait_until(lambda: browser.turned("mix") == 1.0)
    ActionChains(browser.driver, duration=20).click_and_hold(dial).move_by_offset(0, 10).move_by_offset(
        0, 38
    ).release().perform()
    wait_until(lambda: browser.turned("mix") < 1.0)
    coarse = 1.0 - browser.turned("mix")
    host.ask("mix", 1.0)
    wait_until(lambda: browser.turned("mix") == 1.0)
    time.sleep(0.4)  # as for a hand: two quick ones are a double tap
    ActionChains(browser.driver, duration=20).click_and_hold(dial).move_by_offset(-120, 10).move_by_offset(
        0, 38
    ).release().perform()
    wait_until(lambda: browser.turned("mix") < 1.0)
    assert 1.0 - browser.turned("mix") < 0.5 * coarse


def test_a_value_is_typed_and_a_double_tap_is_the_default(browser: Browser, host: Host) -> None:
    browser.go("chain")
    browser.find('[data-address="/duende/input/gain"] .caption').click()
    entry = browser.find('[data-address="/duende/input/gain"] input')
    entry.send_keys(Keys.CONTROL, "a")
    entry.send_keys("-7,5 dB", Keys.ENTER)
    wait_until(lambda: host.value("input/gain") == -7.5, "-7.5 dB")
    assert browser.text('[data-address="/duende/input/gain"] .number').startswith("−7.5")
    ActionChains(browser.driver).double_click(browser.dial("input/gain")).perform()
    wait_until(lambda: host.value("input/gain") == 0.0, "the default")


def test_what_osc_moves_is_seen_to_move(browser: Browser, host: Host) -> None:
    host.ask("amount", 0.25)
    wait_until(lambda: browser.turned("amount") == 0.25, "amount")
    host.ask("bypass", 1)
    wait_until(lambda: browser.find(".bypass").get_attribute("aria-pressed") == "true", "bypass")
    host.ask("bypass", 0)
    host.ask("preset/load", "quad")
    host.ask("style/xy", 0.25, 0.75)
    pad = browser.find(".pad")

    def place() -> list[float]:
        style = "arguments[0].style.getPropertyValue"
        return [float(one or 0) for one in browser.script(f"return [{style}('--x'), {style}('--y')]", pad)]

    # The weights of the styles come one by one.
    wait_until(lambda: place() == pytest.approx([0.25, 0.75], abs=NEAR), "the pad")
    assert float(pad.get_attribute("aria-valuenow") or 0) == pytest.approx(0.25, abs=NEAR)


def test_a_finger_on_the_pad_morphs(browser: Browser, host: Host) -> None:
    browser.resize("tablet")
    host.ask("preset/load", "quad")
    wait_until(lambda: len(browser.all(".pad .corner")) == 4, "four corners")
    pad = browser.find(".pad")
    left, top, width, height = browser.box(pad)
    browser.touch([(left + share * width, top + share * height) for share in (0.5, 0.3, 0.1, 0.0)])
    styles = [f"style/style{place}" for place in range(4)]
    wait_until(lambda: [host.value(one) for one in styles] == [1.0, 0.0, 0.0, 0.0], "the first corner")
    browser.touch([(left + share * width, top + share * height) for share in (0.8, 0.95, 1.05)])
    wait_until(lambda: host.value("style/style3") == 1.0, "the last corner")
    browser.touch([(left + width / 2, top + height / 2)])
    wait_until(lambda: host.value("style/style0") == pytest.approx(0.25, abs=NEAR), "the middle")
    assert browser.all(".pad .corner b")[0].text == "25 %"


def test_a_double_tap_on_the_pad_resets_it(browser: Browser, host: Host) -> None:
    host.ask("preset/load", "quad")
    wait_until(lambda: len(browser.all(".pad .corner")) == 4)
    before = [host.value(f"style/style{place}") for place in range(4)]
    host.ask("style/xy", 0.5, 0.5)
    ActionChains(browser.driver).double_click(browser.find(".pad")).perform()
    wait_until(lambda: [host.value(f"style/style{place}") for place in range(4)] == before, f"{before}")


def test_two_pages_are_in_step(browser: Browser, host: Host, gui: Gui) -> None:
    first = browser.driver.current_window_handle
    browser.driver.switch_to.new_window("tab")
    second = browser.driver.current_window_handle
    try:
        browser.resize("phone")
        browser.open(gui.url)
        browser.find(".bypass").click()
        wait_until(lambda: host.value("bypass") == 1)
        browser.driver.switch_to.window(first)
        wait_until(lambda: browser.find(".bypass").get_attribute("aria-pressed") == "true", "the other page")
        drag(browser, browser.dial("mix"), -200, 0)
        wait_until(lambda: browser.turned("mix") < 0.9)
        browser.driver.switch_to.window(second)
        wait_until(lambda: abs(browser.turned("mix") - float(host.value("mix"))) < NEAR, "the first")  # type: ignore[arg-type]
    finally:
        browser.driver.switch_to.window(second)
        browser.driver.close()
        browser.driver.switch_to.window(first)
        host.ask("bypass", 0)


def test_the_host_goes_and_comes_back(browser: Browser, host: Host) -> None:
    host.stop()
    wait_until(lambda: not browser.up, "it is seen to be gone")
    assert "Looking for the host" in browser.text(".gone")
    host.session.set("amount", 0.375)
    host.start()
    wait_until(lambda: browser.up, "it is back")
    assert browser.turned("amount") == 0.375
    assert browser.all(".gone") == []
    host.ask("amount", 0.5)
    wait_until(lambda: browser.turned("amount") == 0.5, "it is heard again")


def test_the_gui_goes_and_comes_back(browser: Browser, host: Host) -> None:
    first = Gui(f"127.0.0.1:{host.http_port}")
    browser.open(first.url)
    first.process.kill()
    first.end()
    wait_until(lambda: not browser.up, "it is seen to be gone")
    assert "Looking for the GUI" in browser.text(".gone")
    host.ask("amount", 0.625)
    second = Gui(f"127.0.0.1:{host.http_port}", port=first.port)
    try:
        wait_until(lambda: browser.up, "it is back")
        assert browser.turned("amount") == 0.625
        drag(browser, browser.dial("amount"), -100, 0)
        wait_until(lambda: float(host.value("amount")) < 0.6, "it plays")  # type: ignore[arg-type]
    finally:
        browser.driver.get("about:blank")
        browser.complaints()
        second.end()


def test_a_bad_pack_is_refused_in_the_hosts_words_and_a_good_one_installed(
    browser: Browser, host: Host, tmp_path: Path
) -> None:
    browser.go("presets")
    names = [str(name) for name in host.ask("preset/list")]
    bad = tmp_path / "../evil.duende"
    bad.write_bytes(b"PK\x03\x04 no pack at all")
    browser.find("input[type=file]").send_keys(str(bad.resolve()))
    wait_until(lambda: bool(browser.text(".toasts .bad")), "a refusal")
    assert "\n" not in browser.text(".toasts .bad").strip()
    assert [str(name) for name in host.ask("preset/list")] == names
    library = Library(tmp_path / "other", tmp_path / "none")
    library.save("guest", Preset(FORMAT, "guest", []), {})
    good = tmp_path / "guest.duende"
    pack(library.find("guest"), good)
    browser.find("input[type=file]").send_keys(str(good))
    wait_until(lambda: "guest" in [str(name) for name in host.ask("preset/list")], "it is installed")
    wait_until(lambda: "guest" in browser.text(".rows"), "it is listed")


def test_presets_are_searched_played_and_saved(browser: Browser, host: Host) -> None:
    browser.go("presets")
    wait_until(lambda: "solo" in browser.text(".rows"), "the list")
    browser.find(".search input").send_keys("sol")
    wait_until(lambda: len(browser.all(".rows .row")) == 1, "one is left")
    browser.find(".rows .row").click()
    wait_until(lambda: browser.text(".preset .name strong") == "solo", "it plays")
    assert host.value("preset/current") == "solo"
    browser.find(".bar .wide").click()
    entry = browser.find(".sheet input")
    entry.send_keys(Keys.CONTROL, "a")
    entry.send_keys("mine", Keys.ENTER)
    wait_until(lambda: "mine" in [str(name) for name in host.ask("preset/list")], "it is saved")
    entry = browser.find(".search input")
    entry.send_keys(Keys.CONTROL, "a")
    entry.send_keys("mine")
    wait_until(lambda: len(browser.all(".rows .row")) == 1 and "mine" in browser.text(".rows"), "it is listed")


def test_keys_play(browser: Browser, host: Host) -> None:
    browser.keys(Keys.SPACE)
    wait_until(lambda: host.value("bypass") == 1, "bypass")
    browser.keys(Keys.SPACE)
    wait_until(lambda: host.value("bypass") == 0, "and back")
    names = [str(name) for name in host.ask("preset/list")]
    browser.keys(Keys.ARROW_RIGHT)
    wait_until(lambda: host.value("preset/current") == names[(names.index("duo") + 1) % len(names)], "next")
    browser.keys(Keys.ARROW_LEFT)
    wait_until(lambda: host.value("preset/current") == "duo", "previous")
    host.ask("mix", 0.5)
    ActionChains(browser.driver).key_down(Keys.SHIFT).send_keys("3").key_up(Keys.SHIFT).perform()
    wait_until(lambda: 3 in host.ask("snapshot/stored"), "stored")
    host.ask("mix", 0.75)
    browser.keys("3")
    wait_until(lambda: host.value("mix") == 0.5, "recalled")
    # In a field they are letters.
    browser.go("presets")
    browser.find(".search input").send_keys("3 ", Keys.ARROW_RIGHT)
    assert host.value("preset/current") == "duo"
    assert host.value("bypass") == 0


def test_a_held_snapshot_is_stored_a_tapped_one_recalled(browser: Browser, host: Host) -> None:
    browser.keys("8")
    wait_until(lambda: "empty" in browser.text(".toasts .note"), "said to be empty")
    host.ask("mix", 0.25)
    fifth = browser.find('[aria-label^="Snapshot 5"]')
    ActionChains(browser.driver).click_and_hold(fifth).pause(0.8).release().perform()
    wait_until(lambda: 5 in host.ask("snapshot/stored"), "stored")
    host.ask("mix", 0.75)
    fifth.click()
    wait_until(lambda: host.value("mix") == 0.25, "recalled")


def test_every_parameter_of_the_tree_has_a_control(browser: Browser, host: Host) -> None:
    for source in ("fx:delay", "fx:eq", "cabinet:4x12"):
        host.ask("slot/add", source)
    browser.go("chain")
    wait_until(lambda: len(browser.all(".strip[data-slot]")) == 4, "four slots")
    wanted = {row.address for row in host.session.table.rows() if row.kind == "float" and row.name != "split/balance"}
    there = {one.get_attribute("data-address") for one in browser.all(".knob")}
    assert wanted - there == set()
    switches = {row.name for row in host.session.table.rows() if row.kind == "switch" and "/" in row.name}
    assert len(browser.all(".strip[data-slot] [aria-pressed]")) >= len(switches)


def test_slots_are_added_dragged_and_removed(browser: Browser, host: Host) -> None:
    browser.go("chain")
    browser.find(".add").click()
    browser.find(".sheet .search input").send_keys("delay")
    wait_until(lambda: [one.text for one in browser.all(".sheet .tile")] == ["delay"], "found")
    browser.find(".sheet .tile").click()
    wait_until(lambda: len(browser.all(".strip[data-slot]")) == 2, "added")
    assert host.value("slot/2/name") == "delay"
    grip = browser.find('.strip[data-slot="2"] .grip')
    target = browser.find('.strip[data-slot="1"] .title')
    ActionChains(browser.driver, duration=60).click_and_hold(grip).move_to_element(target).move_by_offset(
        3, 3
    ).release().perform()
    wait_until(lambda: host.value("slot/1/name") == "delay", "moved")
    browser.find('.strip[data-slot="1"] .plain').click()
    browser.find(".sheet .danger").click()
    wait_until(lambda: len(browser.all(".strip[data-slot]")) == 1, "removed")
    browser.find('[aria-label="Undo"]').click()
    wait_until(lambda: len(browser.all(".strip[data-slot]")) == 2, "back")


def test_a_long_press_learns(browser: Browser, host: Host) -> None:
    mido = pytest.importorskip("mido")
    dial = browser.dial("amount")
    ActionChains(browser.driver).click_and_hold(dial).pause(0.8).release().perform()
    assert "/duende/amount" in browser.find(".sheet").text
    browser.find(".sheet .first").click()
    wait_until(lambda: bool(browser.all(".sheet .learning")), "it learns")
    host.midi(mido.Message("control_change", control=21, value=64))
    wait_until(lambda: not browser.all(".sheet"), "it has learned")
    assert host.ask("midi/map") == ["amount: control 21 of channel 1, linear"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("view", ["play", "chain", "presets", "look"])
def test_it_fits_and_is_named(browser: Browser, host: Host, size: str, view: str) -> None:
    host.ask("preset/load", "quad")
    browser.resize(size)
    browser.go(view)
    wait_until(lambda: bool(browser.all("main > section")), view)
    assert browser.script("return document.documentElement.scrollWidth <= innerWidth")
    unnamed, small, outside = browser.script(CONTROLS)
    assert (unnamed, small, outside) == ([], [], [])
    if view == "play":
        # All that one plays with is there without scrolling.
        for selector in (".pad", '[data-address="/duende/mix"]', ".snapshots", ".bypass", ".meters"):
            left, top, width, height = browser.box(browser.find(selector))
            assert 0 <= top < top + height <= SIZES[size][1], selector
            assert 0 <= left < left + width <= SIZES[size][0], selector


def test_the_tuner_comes_up_wherever_it_is_switched_on(browser: Browser, host: Host) -> None:
    host.ask("tuner", 1)
    wait_until(lambda: bool(browser.all(".tuner")), "it is shown")
    browser.find(".tuner .done").click()
    wait_until(lambda: host.value("tuner") == 0, "it ends")
    wait_until(lambda: not browser.all(".tuner"), "it is gone")
