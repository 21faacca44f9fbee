"""Training by several processes: the loss falls, and the network is that of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duende import DuendeError

pytestmark = [pytest.mark.train, pytest.mark.text, pytest.mark.alone]

HERE = Path(__file__).parent


def trained(folder: Path, processes: int, steps: str = "all") -> list[dict[str, Any]]:
    """What each process says of a training."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={processes}"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    if processes == 1:
        command = [sys.executable]
    command += [str(HERE / "ranks_run.py"), str(folder), steps]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE), "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(processes)]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Folder and reports of a training by two."""
    folder = tmp_path_factory.mktemp("two")
    return folder, trained(folder, 2)


def test_two_processes_learn_what_one_learns(tmp_path: Path, two: tuple[Path, list[dict[str, Any]]]) -> None:
    (one,) = trained(tmp_path / "one", 1)
    folder, (first, second) = two
    assert np.isfinite(first["losses"]).all()
    assert np.mean(first["losses"][-5:]) < 0.8 * np.mean(first["losses"][:5])
    # Sums are added in another order; the noise, the order of sounds and the steps are the same.
    np.testing.assert_allclose(first["losses"][:3], one["losses"][:3], rtol=1e-4)
    np.testing.assert_allclose(first["losses"], one["losses"], rtol=0.05)
    assert first["first"] == second["first"]
    np.testing.assert_allclose(first["first"], one["first"], atol=0.02)
    # The first one alone writes and tells; all know what was skipped, whoever met it.
    assert second["told"] == []
    assert len(first["told"]) == 60
    assert first["skipped"] == second["skipped"] == one["skipped"] == ["tone-5: broken off"]
    assert (folder / "duende.json").is_file()
    assert not (folder / "training.safetensors").exists()


def test_a_stopped_training_of_two_goes_on(tmp_path: Path, two: tuple[Path, list[dict[str, Any]]]) -> None:
    whole = two[1][0]
    part, _ = trained(tmp_path / "parted", 2, "7")
    assert not part["done"]
    rest, _ = trained(tmp_path / "parted", 2)
    assert rest["done"]
    assert rest["told"] == list(range(8, 61))
    np.testing.assert_allclose(rest["first"], whole["first"], atol=1e-5)


def test_variables_that_are_not_torchruns_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from duende.export.text.ranks import Ranks

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(DuendeError, match="RANK 2 of 2"):
        Ranks()
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(DuendeError, match="torchrun"):
        Ranks()
