"""The listening test: everybody hears everything once, in an order of their own; nothing that was answered is lost."""

import csv
import io
import json
import math
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from duende import DuendeError
from duende.export.captures.heard import loudness_lufs
from duende.export.listen import (
    Answer,
    Listener,
    Study,
    answers_csv,
    choose_scales,
    find_pairs,
    read_listeners,
    results,
)
from duende.export.listen_page import results_page
from duende.export.listen_server import Options, prepare_sounds, serve
from signals import tone

RATE = 22050
PAIRS, SYSTEMS = ("cello", "rain"), ("cnn", "kernel", "=sms")
GOOD = {"similarity": "4", "quality": "70", "relevance": "55"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pairs with three systems each, all of other levels."""
    for number, pair in enumerate(PAIRS):
        for place, name in enumerate(("content", "style", *SYSTEMS)):
            path = tmp_path / "test" / pair / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            wave = tone(200.0 + 50.0 * place + 10.0 * number, RATE // 2, rate_hz=RATE, level_dbfs=-6.0 - 5.0 * place)
            with soundfile.SoundFile(path, "w", RATE, 1) as sound:
                sound.comment = f"made by {name}"
                sound.write(wave)
    return tmp_path / "test"


def study(folder: Path) -> Study:
    return Study(find_pairs(folder), choose_scales([]), folder / "answers")


class Room:
    """A running test, and browsers that come to it."""

    def __init__(self, folder: Path, token: str = "") -> None:
        self.study = study(folder)
        self._done, told = threading.Event(), threading.Event()
        self._said: list[str] = []
        self._browsers: list[httpx.Client] = []

        def say(line: str) -> None:
            self._said.append(line)
            if len(self._said) == 2:
                told.set()

        options = Options(port=0, token=token)
        self._thread = threading.Thread(target=serve, args=(self.study, options, self._done, say))
        self._thread.start()
        assert told.wait(20.0)
        self.address = re.findall(r"http://127\.0\.0\.1:\d+", self._said[0])[0]
        self.results = re.findall(r"http://\S+", self._said[1])[0]
        self.key = re.findall(r"key=([^&]+)", self.results)[0]

    def browser(self, host: str = "") -> httpx.Client:
        client = httpx.Client(
            base_url=self.address, follow_redirects=True, headers={"Host": host} if host else {}, trust_env=False
        )
        self._browsers.append(client)
        return client

    def close(self) -> None:
        for client in self._browsers:
            client.close()
        self._done.set()
        self._thread.join(10.0)
        assert not self._thread.is_alive()


@pytest.fixture
def room(folder: Path) -> Iterator[Room]:
    opened = Room(folder)
    yield opened
    opened.close()


# -- what is compared --------------------------------------------------------------------------------------------------


def test_the_folder_says_what_is_compared(folder: Path) -> None:
    pairs = find_pairs(folder)
    assert [pair.name for pair in pairs] == list(PAIRS)
    assert set(pairs[0].results) == set(SYSTEMS)
    assert [pair.name for pair in find_pairs(folder / "cello")] == ["cello"]


@pytest.mark.parametrize(
    ("missing", "line"),
    [
        (["content.wav"], "there is no content.wav beside the other"),
        (["style.wav"], "there is no style.wav beside the other"),
        ([f"{name}.wav" for name in SYSTEMS], "no result to judge"),
    ],
)
def test_a_pair_that_is_not_whole_is_named(folder: Path, missing: list[str], line: str) -> None:
    for name in missing:
        (folder / "cello" / name).unlink()
    with pytest.raises(DuendeError, match=f"cello: {line}"):
        find_pairs(folder)


def test_folders_without_pairs_and_doubtful_ones(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DuendeError, match="no pair to listen to"):
        find_pairs(tmp_path / "empty")
    with pytest.raises(DuendeError, match="no such folder"):
        find_pairs(tmp_path / "nowhere")
    (folder / "cello" / "cnn.flac").write_bytes(b"")
    with pytest.raises(DuendeError, match="two sounds are called cnn"):
        find_pairs(folder)
    with pytest.raises(DuendeError, match="no scale 'beauty': choose similarity, quality, relevance"):
        choose_scales(["beauty"])


def test_what_is_heard_is_as_loud_and_says_nothing_of_its_origin(folder: Path, tmp_path: Path) -> None:
    sounds = prepare_sounds(find_pairs(folder), tmp_path)
    levels = []
    for path, name in sounds.items():
        audio, rate = soundfile.read(tmp_path / name)
        assert rate == 48000
        levels.append(loudness_lufs(audio))
        assert np.abs(audio).max() <= 0.98
        with soundfile.SoundFile(tmp_path / name) as sound:
            assert sound.comment == ""
        assert not any(word in name for word in (path.stem, path.parent.name))
    assert np.ptp(levels) < 0.1
    assert len(set(sounds.values())) == 10


def test_silence_is_nothing_to_hear(folder: Path, tmp_path: Path) -> None:
    soundfile.write(folder / "rain" / "cnn.wav", np.zeros(RATE), RATE)
    with pytest.raises(DuendeError, match=r"cnn\.wav: silent"):
        prepare_sounds(find_pairs(folder), tmp_path)


# -- orders and answers ------------------------------------------------------------------------------------------------


def test_everybody_hears_everything_in_another_order(folder: Path) -> None:
    running = study(folder)
    orders = [tuple(running.begin(f"listener {number}").order) for number in range(6)]
    everything = {(pair, system) for pair in PAIRS for system in SYSTEMS}
    assert all(set(order) == everything and len(order) == len(everything) for order in orders)
    assert len(set(orders)) > 3


def test_an_answer_is_on_disk_at_once_and_another_run_goes_on_there(folder: Path) -> None:
    running = study(folder)
    key = running.begin("Ada").key
    running.answer(key, 1, {"similarity": 4, "quality": 70, "relevance": 55})
    running.answer(key, 1, {"similarity": 2, "quality": 71, "relevance": 55})
    again = study(folder)
    listener = again.find(key)
    assert listener is not None
    assert listener.name == "Ada"
    assert again.next_place(listener) == 2
    assert [answer.values["similarity"] for answer in listener.answers] == [2]
    pair, system = listener.order[0]
    assert (listener.answers[0].pair, listener.answers[0].system) == (pair, system)


def test_results_that_come_or_go_do_not_disturb_what_was_answered(folder: Path) -> None:
    running = study(folder)
    key = running.begin("Ada").key
    running.answer(key, 1, {"similarity": 4, "quality": 70, "relevance": 55})
    first = running.begin("x").order[0]
    kept = (folder / "cello" / "cnn.wav").read_bytes()
    (folder / "rain" / "new.wav").write_bytes(kept)
    (folder / "cello" / "cnn.wav").unlink()
    again = study(folder)
    listener = again.find(key)
    assert listener is not None
    assert first is not None
    assert listener.order[-1] == ("rain", "new")
    assert len(listener.answers) == 1
    heard = {listener.order[place - 1] for place in again.places(listener)}
    assert ("cello", "cnn") not in heard
    assert len(heard) == 6


@pytest.mark.parametrize(
    "values",
    [{}, {"similarity": 4, "quality": 70}, {"similarity": 6, "quality": 70, "relevance": 55}],
)
def test_what_is_out_of_range_is_not_kept(folder: Path, values: dict[str, int]) -> None:
    running = study(folder)
    key = running.begin("Ada").key
    with pytest.raises(DuendeError, match="choose a number from"):
        running.answer(key, 1, values)
    with pytest.raises(DuendeError, match="no result 7"):
        running.answer(key, 7, {"similarity": 4, "quality": 70, "relevance": 55})
    assert study(folder).listeners[0].answers == []


def test_a_damaged_file_of_answers_is_named_and_not_lost(folder: Path) -> None:
    running = study(folder)
    key = running.begin("Ada").key
    path = folder / "answers" / f"{key}.json"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DuendeError, match=f"{key}.json: not a file of answers"):
        read_listeners(folder / "answers")
    assert path.exists()


# -- what comes of it --------------------------------------------------------------------------------------------------


def answered(name: str, *values: tuple[str, str, int]) -> Listener:
    answers = [
        Answer(pair, system, place, {"similarity": value}, "2000-01-01T00:00:00+00:00")
        for place, (pair, system, value) in enumerate(values, 1)
    ]
    return Listener(1, f"{name}-key", name, [(one.pair, one.system) for one in answers], answers)


def test_means_and_intervals_are_over_listeners() -> None:
    scales = choose_scales(["similarity"])
    listeners = [
        answered("a", ("cello", "cnn", 1), ("rain", "cnn", 3), ("cello", "kernel", 5)),
        answered("b", ("cello", "cnn", 4)),
        answered("c", ("cello", "cnn", 3)),
    ]
    found = results(listeners, scales)
    cnn = found.by_system["cnn"]["similarity"]
    # Listener a counts once, with 2; so 2, 4, 3: t(0.975, 2) = 4.3027, deviation 1.
    assert (cnn.value, cnn.listeners, cnn.answers) == (3.0, 3, 4)
    assert cnn.half == pytest.approx(4.302653 / math.sqrt(3.0), rel=1e-6)
    assert cnn.text == "3.00 ± 2.48"
    assert math.isnan(found.by_system["kernel"]["similarity"].half)
    assert found.by_system["kernel"]["similarity"].text == "5.00"
    assert found.by_pair["similarity"]["rain"]["kernel"].text == "-"
    assert found.by_pair["similarity"]["cello"]["cnn"].value == pytest.approx(8.0 / 3.0)
    page = results_page("Results", found, scales)
    assert "<th>cnn</th><td>3.00 ± 2.48</td><td>4</td>" in page
    assert "3 listeners, 5 answers" in page


def test_the_table_of_answers_is_read_by_other_programs_and_runs_no_formula() -> None:
    scales = choose_scales(["similarity", "quality"])
    text = answers_csv([answered('=HYPERLINK("x"), y', ("cello", "=sms", 2))], scales)
    head, row = csv.reader(io.StringIO(text))
    assert head == ["listener", "name", "pair", "system", "place", "similarity", "quality", "when"]
    assert row[1:] == ['\'=HYPERLINK("x"), y', "cello", "'=sms", "1", "2", "", "2000-01-01T00:00:00+00:00"]


# -- the pages ---------------------------------------------------------------------------------------------------------


def test_a_listener_answers_everything_and_reloads_in_between(room: Room, folder: Path) -> None:
    browser = room.browser()
    assert "You will hear 6 results" in browser.get("/").text
    page = browser.post("/start", data={"name": "Ada <b>"})
    heard = []
    for number in range(1, 7):
        assert f"Result {number} of 6" in page.text
        assert browser.get("/").url == page.url  # a reload, or coming back, is the same place
        sources = re.findall(r'<audio [^>]*src="([^"]+)"', page.text)
        assert len(sources) == 3
        for source in sources:
            sound = browser.get(source, headers={"Range": "bytes=0-99"})
            assert sound.status_code == 206
            assert sound.content[:4] == b"RIFF"
        heard.append(sources[2])
        assert not any(word in page.text for word in SYSTEMS)
        place = page.url.path
        assert len(read_listeners(folder / "answers")[0].answers) == number - 1
        page = browser.post(place, data=GOOD)
        assert len(read_listeners(folder / "answers")[0].answers) == number
    assert "Thank you" in page.text
    assert len(set(heard)) == 6
    again = browser.get("/item/2")
    assert "Result 2 of 6" in again.text
    assert 'value="4" required checked' in again.text
    assert 'value="70"' in again.text
    saved = json.loads(next((folder / "answers").glob("*.json")).read_text())
    assert saved["name"] == "Ada <b>"
    assert saved["answers"][0]["values"] == {name: int(value) for name, value in GOOD.items()}


def test_two_listeners_do_not_mix(room: Room) -> None:
    ada, bob = room.browser(), room.browser()
    for browser, name in ((ada, "Ada"), (bob, "Bob")):
        browser.post("/start", data={"name": name})
        browser.post("/item/1", data=GOOD)
    ada.post("/item/2", data=GOOD)
    assert {one.name: len(one.answers) for one in room.study.listeners} == {"Ada": 2, "Bob": 1}
    assert "You will hear" in ada.post("/leave").text


@pytest.mark.parametrize(
    "form", [{}, {**GOOD, "similarity": "9"}, {**GOOD, "quality": "1e2"}, {**GOOD, "quality": "-1"}, {"x": "y" * 9000}]
)
def test_a_bad_answer_is_asked_again(room: Room, form: dict[str, str]) -> None:
    browser = room.browser()
    browser.post("/start", data={"name": "Ada"})
    answer = browser.post("/item/1", data=form)
    assert answer.status_code == 400
    assert "choose a number from" in answer.text
    assert "Result 1 of 6" in answer.text
    assert room.study.listeners[0].answers == []


def test_results_and_answers_are_for_who_has_the_key(room: Room) -> None:
    browser = room.browser()
    browser.post("/start", data={"name": "Ada"})
    browser.post("/item/1", data=GOOD)
    for address in ("/results", "/results?key=guess", "/answers.csv", "/answers.csv?key="):
        assert browser.get(address).status_code == 403
    text = browser.get(f"/results?key={room.key}").text
    assert "1 listener, 1 answers" in text
    assert "By pair: similarity, 1 to 5" in text
    table = browser.get(f"/answers.csv?key={room.key}")
    assert table.headers["content-type"].startswith("text/csv")
    assert len(table.text.splitlines()) == 2


def test_a_nameless_listener_and_addresses_that_are_not_there(room: Room) -> None:
    browser = room.browser()
    assert browser.post("/start", data={"name": "  "}).status_code == 400
    assert room.study.listeners == []
    assert browser.get("/item/1").url.path == "/"
    assert browser.get("/sound/../../etc/passwd").status_code == 404
    assert browser.get("/sound/no.wav").status_code == 404
    browser.post("/start", data={"name": "Ada"})
    assert browser.get("/item/99").url.path == "/item/1"
    assert browser.post("/item/99", data=GOOD).status_code == 404


def test_pages_from_elsewhere_and_foreign_names_are_refused(room: Room) -> None:
    assert room.browser("evil.example").get("/").status_code == 403
    browser = room.browser()
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert browser.post("/start", data={"name": "Ada"}, headers=headers).status_code == 403
    assert room.study.listeners == []
    answer = browser.get("/")
    assert answer.headers["x-frame-options"] == "DENY"
    # A browser sends its page's origin with a form only under such a policy.
    assert answer.headers["referrer-policy"] == "same-origin"
    assert "script-src" not in answer.text


def test_a_network_needs_the_word(folder: Path) -> None:
    with pytest.raises(DuendeError, match="would open the test to the network"):
        Options(host="192.168.0.10")
    room = Room(folder, "hush")
    try:
        browser = room.browser()
        assert browser.get("/").status_code == 401
        assert browser.get(f"/results?key={room.key}").status_code == 401
        assert browser.post("/start", data={"name": "Ada"}).status_code == 401
        wrong = browser.get("/?token=other")
        assert wrong.status_code == 401
        assert "another word" in wrong.text
        assert "0 listeners" in browser.get(room.results).text
        assert browser.post("/start", data={"name": "Ada"}).status_code == 200
        assert "You will hear" in room.browser().get("/?token=hush").text
    finally:
        room.close()
