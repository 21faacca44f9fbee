"""One process of a training of several, as torchrun starts it: python -m torch.distributed.run ... ranks_run.py DIR."""

import json
import sys
from pathlib import Path

import torch

from diffusion_parts import small_system, tones
from duende.export.text.diffusion_training import Plan, train


def main() -> None:
    """Train the small system, and write what this process saw."""
    folder, steps = Path(sys.argv[1]), None if sys.argv[2] == "all" else int(sys.argv[2])
    torch.set_num_threads(1)
    system = small_system()
    plan = Plan(epochs=30, batch=1, accumulate=4, rate=3e-3, left_out=0.0, most_steps=steps)
    told: list[int] = []
    resume = (folder / "training.safetensors").exists()
    sounds = tones(6, broken=(5,))
    found = train(system, sounds, plan, folder, resume=resume, report=lambda *step: told.append(step[0]))
    first = next(iter(system.unet.parameters())).detach().reshape(-1)[:8].tolist()
    report = {
        "losses": found.losses,
        "told": told,
        "skipped": found.skipped,
        "first": first,
        "done": found.done,
        "device": str(system.unet.device),
    }
    (folder / f"rank{found.rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
