"""The whole way: a hand on a knob in the browser, and the sound that comes out of JACK is another."""

from pathlib import Path

import pytest

pytest.importorskip("nicegui")
pytest.importorskip("selenium")

from selenium.webdriver import ActionChains, Keys

from sessions import tiny_library
from stage import Browser, reachable
from stage_live import Rig, tone
from waiting import wait_until

pytestmark = pytest.mark.live("jackd", "chromium", "chromedriver")

PLAYED_DB = -20.0


def test_a_turned_knob_is_heard(tmp_path: Path) -> None:
    tiny_library(tmp_path / "home")
    rig = Rig(tmp_path / "home", tone(100.0, 0.5, 0.1 * 2**0.5), "wire")
    browser: Browser | None = None
    try:
        assert rig.guitar is not None
        guitar = rig.guitar
        wait_until(lambda: guitar.level_db() == pytest.approx(PLAYED_DB, abs=0.3), "the wire")
        browser = Browser(tmp_path / "chromium")
        wait_until(lambda: reachable(rig.url), "the GUI")
        browser.open(rig.url, "chain")
        # Its levels are those that are played.
        wait_until(lambda: rig.ask("meter")[1] == pytest.approx(PLAYED_DB, abs=0.5), "the meter")
        browser.find('[data-address="/duende/output/gain"] .caption').click()
        entry = browser.find('[data-address="/duende/output/gain"] input')
        entry.send_keys(Keys.CONTROL, "a")
        entry.send_keys("-12", Keys.ENTER)
        wait_until(lambda: guitar.level_db() == pytest.approx(PLAYED_DB - 12.0, abs=0.3), "12 dB less")
        ActionChains(browser.driver).double_click(browser.dial("output/gain")).perform()
        wait_until(lambda: guitar.level_db() == pytest.approx(PLAYED_DB, abs=0.3), "as before")
        browser.find('[aria-label="Mute"]').click()
        wait_until(lambda: guitar.level_db() < -100.0, "silence")
    finally:
        if browser is not None:
            browser.quit()
        rig.end()
    # `live` takes its GUI with it.
    wait_until(lambda: not reachable(rig.url), "the GUI has ended")
