"""Errors of users, as other processes hear of them."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
import signal
from collections.abc import Iterator
from typing import Any

import ctfgan
from ctfgan.core.errors import ConfigError, CtfganError, Interrupted, ProcessLost
from ctfgan.distributed.processes import _told
from ctfgan.training.divergence import Diverged

MORE: dict[type[CtfganError], dict[str, Any]] = {  # than a message
    Interrupted: {"signal_number": signal.SIGTERM},
    ProcessLost: {"has_saved": True},
    Diverged: {"remedy": "a remedy"},
}


def kinds(kind: type[CtfganError] = CtfganError) -> Iterator[type[CtfganError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from kinds(below)


def test_an_error_of_every_kind_reaches_other_processes_as_it_is() -> None:
    for module in pkgutil.walk_packages(ctfgan.__path__, "ctfgan."):
        if "__main__" not in module.name and not module.name.startswith("ctfgan.web"):
            importlib.import_module(module.name)
    known = [*kinds()]
    assert {CtfganError, Interrupted, ProcessLost, Diverged} <= {*known}
    for kind in known:
        error = kind("a sentence", **MORE.get(kind, {}))
        main_only = pickle.loads(pickle.dumps(_told(error)))
        assert type(main_only) is kind
        assert (str(main_only), main_only.args, vars(main_only)) == (str(error), error.args, vars(error))
        assert main_only.exit_code == error.exit_code


def test_a_foreign_error_reaches_other_processes_in_one_sentence() -> None:
    main_only = pickle.loads(pickle.dumps(_told(PermissionError(13, "Permission denied", "/x"))))
    assert type(main_only) is CtfganError
    assert str(main_only) == "PermissionError: [Errno 13] Permission denied: '/x'; mend that and try again"


def test_a_message_with_arguments_of_its_own_survives() -> None:
    class Detailed(ConfigError):
        def __init__(self, message: str, place: int) -> None:
            super().__init__(message)
            self.place = place

    copy, arguments, state = Detailed("wrong", 3).__reduce__()
    assert vars(copy(*arguments)) == {}
    assert (str(copy(*arguments)), state) == ("wrong", {"place": 3})
