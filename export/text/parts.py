"""The libraries of the diffusion systems, imported when one is used: they take some ten seconds."""

import functools
import importlib
import os
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from ... import DuendeError

MOST_JSON = 32 << 20
SAMPLERS = {"ddpm": "DDPMScheduler", "ddim": "DDIMScheduler"}
WAY = "pip install 'duende[train,text]'"


@functools.cache
def library(name: str) -> ModuleType:
    """torch, diffusers, transformers, peft, tokenizers or safetensors.torch; DuendeError where it is not installed."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs, about libraries that are not here
            module = importlib.import_module(name)
            if name == "transformers":
                module.logging.set_verbosity_error()
                module.logging.disable_progress_bar()
            elif name == "diffusers":
                library("transformers")
                module.logging.set_verbosity_error()
                module.utils.logging.disable_progress_bar()
    except ImportError as error:
        raise DuendeError(f"text to sound needs {error.name or name}: {WAY}") from error
    return module


def part(library_name: str, kind: str) -> Any:
    """A class of a library, as part("diffusers", "AutoencoderKL")."""
    module = library(library_name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class's module is imported when it is first named
        try:
            return getattr(module, kind)
        except (AttributeError, ImportError, RuntimeError) as error:
            raise DuendeError(f"{library_name} {module.__version__} has no {kind}: {WAY}") from error


def load(library_name: str, kind: str, folder: Path) -> Any:
    """A network from its folder: config.json and safetensors, nothing else is opened. DuendeError if it does not fit.

    A missing or foreign tensor is an error: a network with a layer left random would still make a sound.
    """
    if not (folder / "config.json").is_file():
        raise DuendeError(f"{folder}: no config.json: not the weights of a {kind}")
    cls = part(library_name, kind)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = cls.from_pretrained(
                str(folder), use_safetensors=True, local_files_only=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise DuendeError(f"{folder}: not the weights of a {kind} ({short(error)})") from error
    network, info = found
    bad = [
        (key, one) for key in ("missing_keys", "mismatched_keys", "unexpected_keys", "error_msgs") for one in info[key]
    ]
    if bad:
        key, one = bad[0]
        raise DuendeError(f"{folder}: not the weights of this {kind}: {len(bad)} {key.replace('_', ' ')}, as {one}")
    return network.eval()


def build(library_name: str, kind: str, config: dict[str, Any]) -> Any:
    """A network with random weights; seed torch before."""
    cls = part(library_name, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if library_name == "transformers":
            return cls(part("transformers", cls.config_class.__name__)(**config))
        return cls(**config)


def load_scheduler(kind: str, config: dict[str, Any]) -> Any:
    """DDPM or DDIM with a published configuration."""
    if kind not in SAMPLERS:
        raise DuendeError(f"sampler {kind!r}: choose ddpm or ddim")
    return part("diffusers", SAMPLERS[kind])(**config)


def save(network: Any, folder: Path) -> None:
    """config.json and safetensors of a network into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    network.save_pretrained(str(folder), safe_serialization=True)


def parameters(network: Any) -> int:
    """How many numbers a network holds."""
    return sum(one.numel() for one in network.parameters())


def short(error: Exception) -> str:
    """An error of a library in one line."""
    return " ".join(str(error).split())[:160]
