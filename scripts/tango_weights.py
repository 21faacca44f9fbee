"""Writes TANGO's published weights as folders of safetensors, which `duende prompt --backend tango` reads.

Run: ``python scripts/tango_weights.py pytorch_model_main.bin FOLDER``. The published file is a pickle; it is opened
with torch's restricted reader, which builds tensors and nothing else. docs/text-diffusion.md says what else is needed.
"""

import argparse
import sys
from pathlib import Path

import torch

from duende import DuendeError
from duende.export.text.tango import convert_checkpoint


def main() -> int:
    """Read, split, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="pytorch_model_main.bin of declare-lab/tango")
    parser.add_argument("folder", type=Path, help="where unet/ and text_encoder/ are written")
    given = parser.parse_args()
    try:
        tensors = torch.load(given.checkpoint, map_location="cpu", weights_only=True, mmap=True)
        convert_checkpoint(tensors, given.folder)
    except (DuendeError, OSError) as error:
        print(f"tango_weights: {error}", file=sys.stderr)
        return 1
    print(f"{given.folder}: unet/ and text_encoder/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
