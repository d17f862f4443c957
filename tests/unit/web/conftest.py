from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from ctfgan.bundle import Bundle
from ctfgan.sampling import Model
from ctfgan.web.app import create_app
from ctfgan.web.guard import LOOPBACK
from ctfgan.web.limits import Limits
from tests.contract.test_changed_classes import random_bundle


@pytest.fixture
def visit() -> Iterator[Callable[..., TestClient]]:
    """``visit(bundle, requests_per_minute=3)``: a client of a server with these limits, others as usual."""
    clients = []

    def start(bundle: Bundle, address: str = "http://localhost:8000", **limits: float) -> TestClient:
        app = create_app(Model(bundle, "cpu"), Limits.model_validate(limits), LOOPBACK)
        client = TestClient(app, address)
        client.__enter__()
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(visit: Callable[..., TestClient]) -> TestClient:
    """Five classes a ... e with matched low-quality images, 16x16 pixels."""
    return visit(random_bundle("ctf-folders"))
