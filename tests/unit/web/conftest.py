from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fastapi.testclient import TestClient

from ctfgan.bundle.bundle import Bundle
from ctfgan.sampling.model import Model
from ctfgan.web.messages import Limits
from ctfgan.web.server import create_app
from tests.contract.test_changed_classes import random_bundle


@pytest.fixture
def visit() -> Iterator[Callable[..., TestClient]]:
    """``visit(bundle, waiting=5)``: a client of a server with these limits, others as usual."""
    with ExitStack() as open_clients:

        def start(bundle: Bundle, **limits: float) -> TestClient:
            return open_clients.enter_context(visitor(bundle, **limits))

        yield start


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """Five classes a ... e with matched low-quality images, 16x16 pixels."""
    with visitor(random_bundle("ctf-folders")) as client:
        yield client


def visitor(bundle: Bundle, **limits: float) -> TestClient:
    """A client that speaks to a server of its own, once it is entered."""
    app = create_app(Model(bundle, "cpu"), Limits.model_validate(limits))
    return TestClient(app, "http://localhost:8000")
