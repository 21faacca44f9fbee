"""Play a recording through every preset, a sound file each: hear what there is.

python examples/python/every_preset.py guitar.wav --output sounds
"""

import argparse
from pathlib import Path

import duende
from duende.presets.library import Library


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("recording")
    options.add_argument("--output", type=Path, default=Path("sounds"))
    chosen = options.parse_args()

    chosen.output.mkdir(parents=True, exist_ok=True)
    for entry in Library().entries():
        try:
            sound = duende.render(chosen.recording, entry.name)
        except duende.DuendeError as error:
            # A rig with effects, say, where pyo is not installed.
            print(f"{entry.name}: {error}")
            continue
        print(sound.save(chosen.output / f"{entry.name}.wav"), f"{sound.seconds:.1f} s")


if __name__ == "__main__":
    main()
