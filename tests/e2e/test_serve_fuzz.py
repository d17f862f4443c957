"""Requests that nobody meant, by the thousand: none may fail inside the server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctfgan.sampling.model import Model
from ctfgan.web.messages import Limits
from ctfgan.web.server import create_app
from tests.contract.test_changed_classes import random_bundle
from tests.unit.web.test_web_api import image_file

pytestmark = pytest.mark.slow

FINE = {200, 400, 404, 413, 415, 422}
MANY = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from("abcdeq") | st.text(max_size=10)
counts = st.integers(-1, 6) | anything
seeds = st.sampled_from([0, 1, 2**48 - 1, 2**48, 2**64]) | anything
ends = st.fixed_dictionaries({}, optional={"class": names | anything, "seed": seeds}) | anything
samples = st.fixed_dictionaries(
    {}, optional={"classes": st.lists(names, max_size=4) | anything, "n": counts, "seed": seeds}
)
slides = st.fixed_dictionaries({}, optional={"from": ends, "to": ends, "steps": counts})
forms = st.sampled_from(["json", "sheet", "zip"]) | st.text(max_size=5)


@pytest.fixture(scope="module", params=["ctf-folders", "sn-gan-folders"])
def client(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    limits = Limits(images=12)
    app = create_app(Model(random_bundle(request.param), "cpu"), limits)
    with TestClient(app, "http://localhost:8000") as client:  # which raises what the server did not foresee
        yield client


def check(answer: object) -> None:
    status, content = answer.status_code, answer.content  # type: ignore[attr-defined]
    assert status in FINE, (status, content[:300])
    if status != 200:
        told = json.loads(content)
        assert set(told) == {"error"}
        assert told["error"]


@MANY
@given(path=st.sampled_from(["sample", "slide"]), content=samples | slides | anything, form=forms)
def test_json_of_any_form(client: TestClient, path: str, content: object, form: str) -> None:
    body = json.dumps(content).encode("utf-8", "surrogatepass")
    check(client.post(f"/api/{path}", params={"as": form}, content=body, headers={"Content-Type": "application/json"}))


@MANY
@given(body=st.binary(max_size=200), kind=st.sampled_from(["application/json", "multipart/form-data; boundary=x", ""]))
def test_bytes_of_any_form(client: TestClient, body: bytes, kind: str) -> None:
    for path in ("sample", "slide", "enhance"):
        check(client.post(f"/api/{path}", content=body, headers={"Content-Type": kind}))


@MANY
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP"]),
    changes=st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.integers(1, 3_000),
)
def test_images_with_wrong_bytes(client: TestClient, kind: str, changes: list[tuple[int, int]], cut: int) -> None:
    content = bytearray(image_file((24, 24), kind, "RGB"))
    for place, value in changes:
        content[place % len(content)] = value
    check(client.post("/api/enhance", data={"class": "a", "n": 1}, files={"image": bytes(content[:cut])}))


@MANY
@given(
    search=st.text(max_size=300), limit=st.integers() | st.text(max_size=5), offset=st.integers() | st.text(max_size=5)
)
def test_searches_of_any_form(client: TestClient, search: str, limit: object, offset: object) -> None:
    query = {"search": search.encode("utf-8", "replace"), "limit": limit, "offset": offset}
    check(client.get("/api/classes", params=query))  # type: ignore[arg-type]
