"""What every test may use: a seeded random generator, and markers for what a machine may lack.

A test marked ``live`` needs jackd and PortAudio, or the programs that the marker names
(``pytest.mark.live("oscsend")``); one marked ``train`` needs torch, one marked ``fx`` pyo, one marked ``text``
diffusers and peft. Where that is missing the test is skipped and says why; with ``DUENDE_REQUIRE_LIVE=1`` in the
environment it fails instead, so that a continuous-integration run cannot pass by skipping.
"""

import ctypes
import ctypes.util
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# The same examples each time, however busy the machine is.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with the same seed in every test."""
    return np.random.default_rng(seed=440)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Products and networks as small as the tests' are slower on several threads."""
    threadpool_limits = pytest.importorskip("threadpoolctl").threadpool_limits
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch is not None else 1
    if torch is not None:
        torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    if torch is not None:
        torch.set_num_threads(threads)


def missing_for(marker: str, programs: tuple[str, ...] = ()) -> str | None:
    """Name what this machine lacks for tests with ``marker`` and its ``programs``, or None if it lacks nothing."""
    for program in programs:
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if marker == "live" and not programs:
        if shutil.which("jackd") is None:
            return "jackd is not installed"
        if ctypes.util.find_library("portaudio") is None:
            return "the PortAudio library is not installed"
    if marker == "train" and importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    if marker == "fx" and importlib.util.find_spec("pyo") is None:
        return "pyo is not installed"
    for library in ("diffusers", "transformers", "tokenizers", "safetensors", "peft"):
        if marker == "text" and importlib.util.find_spec(library) is None:
            return f"{library} is not installed"
    return None


@pytest.fixture(autouse=True)
def _usual_arithmetic() -> None:
    """Undo what an audio callback has set on this thread: other tests want numbers that are not flushed to zero."""
    if sys.platform == "linux":
        # glibc: the default environment is the address -1.
        ctypes.CDLL("libm.so.6").fesetenv(ctypes.c_void_p(-1))


@pytest.fixture(autouse=True)
def _no_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that takes long because the machine is busy is no late one, but for tests of just that (``watched``)."""
    if request.node.get_closest_marker("watched") is None:
        monkeypatch.setattr("duende.engine.host.Host._watch", lambda host, late: None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail where it is required, a test whose marker names something this machine lacks."""
    for marker in ("live", "train", "fx", "text"):
        found = item.get_closest_marker(marker)
        if found is None:
            continue
        missing = missing_for(marker, found.args)
        if missing is None:
            continue
        if os.environ.get("DUENDE_REQUIRE_LIVE") == "1":
            pytest.fail(f"{missing}, and DUENDE_REQUIRE_LIVE=1 asks for it", pytrace=False)
        pytest.skip(missing)
