"""The offline systems by name; each is imported when it is asked for, so that listing them costs nothing."""

import importlib
from typing import cast

from ... import DuendeError
from .teacher import Teacher

_PLACES = {
    "cnn": ("gram", "CNN"),
    "kernel": ("gram", "KERNEL"),
    "sms": ("sms", "TEACHER"),
    "vgg19": ("vgg19", "TEACHER"),
    "autoencoder": ("autoencoder", "TEACHER"),
    "vae": ("vae", "TEACHER"),
    "hybrid": ("hybrid", "TEACHER"),
}

NAMES = tuple(_PLACES)
DEFAULT_FORM = "faithful"


def teacher(name: str) -> Teacher:
    """The system of this name. DuendeError for an unknown one, and where a library that it needs is not installed."""
    if name not in _PLACES:
        raise DuendeError(f"teacher {name!r}: choose one of {', '.join(NAMES)}")
    module, attribute = _PLACES[name]
    try:
        found = importlib.import_module(f".{module}", __package__)
    except ModuleNotFoundError as error:
        missing = (error.name or "").removeprefix(f"{__package__}.")
        if missing == module:
            raise DuendeError(f"teacher {name} is not part of this installation") from error
        raise DuendeError(f"teacher {name} needs {missing}: pip install 'duende[train]'") from error
    return cast(Teacher, getattr(found, attribute))


def settings_of(system: Teacher, form: str) -> object:
    """The settings of one of a system's forms. DuendeError for an unknown one."""
    if form not in system.forms:
        raise DuendeError(f"teacher {system.name} has no form {form!r}: choose one of {', '.join(system.forms)}")
    return system.forms[form]


def parse_choice(text: str) -> tuple[str, str]:
    """(name, form) of NAME or NAME:FORM. DuendeError where there is no such name; the form is not looked at."""
    name, _, form = text.strip().partition(":")
    if name not in _PLACES:
        raise DuendeError(f"teacher {name!r}: choose one of {', '.join(NAMES)}")
    return name, form or DEFAULT_FORM
