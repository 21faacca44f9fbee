"""The documentation: written pages are current, links lead somewhere, the commands and Python in it can be run."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import soundfile
import typer

import duende
from duende.commands.app import app
from duende.engine.control.reference import example_nodes
from duende.export import api
from duende.presets.library import HOME_VARIABLE
from reference_pages import FOLDER, PAGES, commands

ROOT = Path(__file__).resolve().parents[1]
WRITTEN = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
# Neither of them is told to be typed as it stands.
PLACES = {"decisions.md", "cli.md"}
SLOT = re.compile(r"^/duende/slot/\d+/")


@pytest.mark.parametrize("name", PAGES)
def test_the_written_pages_are_current(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name](), "run `python tests/reference_pages.py`"


def test_the_command_line_page_has_every_command_and_option() -> None:
    page = PAGES["cli.md"]()
    found = list(commands(typer.main.get_command(app)))
    assert len(found) > 25
    for words, command in found:
        section = page.partition(f"## {' '.join(words)}\n")[2].partition("\n## ")[0]
        assert section, words
        for one in command.params:
            if one.param_type_name == "option" and not one.hidden and one.name != "help":
                assert f"`{max(one.opts, key=len)}`" in section, (words, one.opts)
    assert "--owned" not in page


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files_of_the_repository(page: Path) -> None:
    text = re.sub(r"^(?: {4}|```).*?$", "", page.read_text(), flags=re.MULTILINE)
    for goal in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in goal:
            assert (page.parent / goal).exists(), goal


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


# -- commands ----------------------------------------------------------------------------------------------------------


def told(page: Path) -> Iterator[list[str]]:
    """The commands `duende ...` of a page's blocks and of its running text, as words."""
    text = page.read_text()
    blocks = re.findall(r"^\s{4,}((?:pw-jack )?duende .*)$", text, re.MULTILINE)
    for line in [*blocks, *re.findall(r"`(duende [a-z][^`]*)`", text)]:
        words = shlex.split(line.partition("  #")[0].replace("...", ""), comments=False)
        yield words[words.index("duende") + 1 :]


@pytest.fixture(scope="module")
def tree() -> Any:
    return typer.main.get_command(app)


@pytest.mark.parametrize(
    "page", [path for path in WRITTEN if path.name not in PLACES], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_the_commands_that_are_told_exist(page: Path, tree: Any) -> None:
    known = {node.address for node in example_nodes()}
    for words in told(page):
        command, rest = tree, list(words)
        while hasattr(command, "commands"):
            default = getattr(command, "default_command", None)
            if rest and rest[0] in command.commands:
                command = command.commands[rest.pop(0)]
            elif default is not None:
                command = command.commands[default]
            else:
                assert not rest or rest[0].startswith("-"), f"duende {' '.join(words)}"
                break
        options = {name for one in command.params for name in one.opts} | {"--help", "--install-completion"}
        options |= {"--show-completion"}
        if words[0] == "ctl":
            address = f"/duende/{rest[0]}"
            # Styles, slots and their controls depend on what plays.
            assert address in known or SLOT.match(address) or address.startswith("/duende/style/"), address
            continue
        for word in rest:
            if word.startswith("-"):
                assert word in options, f"duende {' '.join(words)}: {word}"


def test_a_command_that_does_not_exist_would_be_found(tmp_path: Path, tree: Any) -> None:
    for line in ("    duende fly away", "see `duende live --loud`", "    duende ctl no/such", "    duende preset fly"):
        page = tmp_path / "page.md"
        page.write_text(line)
        with pytest.raises(AssertionError):
            test_the_commands_that_are_told_exist(page, tree)


# -- Python ------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_python_that_is_told_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    page = (ROOT / "docs" / "how-to" / "python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    soundfile.write(tmp_path / "guitar.wav", 0.1 * rng.standard_normal(9600), 48000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    # What needs a sound card or three minutes takes what the real ones take, and answers.
    host, forge = mock.create_autospec(api.Host), mock.create_autospec(api.forge)
    host.return_value.__enter__.return_value = host.return_value
    forge.return_value.entry.name = "cello"
    monkeypatch.setattr(api, "Host", host)
    monkeypatch.setattr(api, "forge", forge)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)  # the page's own
    assert soundfile.info(tmp_path / "out.wav").frames >= 9600
    assert names["played"].samples.shape[0] >= 48000
    host.return_value.load.assert_called_once_with("sax")
    assert forge.call_args.args == ("cello.wav", "my-cello")
    assert duende.Host is host


# -- the site ----------------------------------------------------------------------------------------------------------


SITE = """
site_name: small
theme: mkdocs
plugins: []
hooks: [docs/hooks.py]
exclude_docs: "*.py"
strict: true
"""


def build(folder: Path) -> tuple[int, str]:
    """Exit status and words of a build of the site; --quiet would let everything pass."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build"], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def test_links_to_beside_the_folder_lead_somewhere_and_others_fail_the_site(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    whole = (ROOT / "mkdocs.yml").read_text()
    assert "\nstrict: true\n" in whole
    validation = re.search(r"^validation:\n(?: .*\n)+", whole, re.MULTILINE)
    assert validation is not None
    (tmp_path / "mkdocs.yml").write_text(SITE + validation[0] + "nav: [index.md, bench/x.md, examples/README.md]\n")
    for name, text in {
        "docs/index.md": "# Here\n[x](../bench/x.md#x) [one](../examples/python/a.py) [all](../examples/python)\n",
        "bench/x.md": "# X\n[back](../docs/index.md)\n",
        "examples/README.md": "# Examples\n[a](python)\n",
        "examples/python/a.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    shutil.copy(ROOT / "docs" / "hooks.py", tmp_path / "docs")
    status, said = build(tmp_path)
    assert status == 0, said
    index = (tmp_path / "site" / "index.html").read_text()
    assert 'href="bench/x/#x"' in index
    assert index.count('href="examples/"') >= 2
    page = tmp_path / "docs" / "index.md"
    page.write_text(page.read_text() + "[away](nowhere.md) [there](../bench/x.md#y) [not](../bench/y.md)\n")
    status, said = build(tmp_path)
    assert status != 0
    assert all(f"'{goal}'" in said for goal in ("nowhere.md", "../bench/y.md"))
    assert "anchor '#y'" in said
