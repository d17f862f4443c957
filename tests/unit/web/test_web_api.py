from __future__ import annotations

import json
import zipfile
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx import Response
from PIL import Image

from ctfgan.sampling.model import ImageId, Model
from tests.contract.test_changed_classes import random_bundle

UGLY = ("<img src=x onerror=alert(1)>", "../../etc/passwd", "Ä b", "\u5baa", "CON", "line\nbreak", "\ud800")


def image_file(size: tuple[int, int] = (20, 20), kind: str = "PNG", mode: str = "L") -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
    content = BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, format=kind)
    return content.getvalue()


def images_in(answer: Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    shown = [Image.open(BytesIO(b64decode(image["png"]))) for image in answer.json()["images"]]
    return np.stack([np.asarray(image) for image in shown])


def error_in(answer: Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    content = answer.json()
    assert set(content) == {"error"}
    assert "\n" not in content["error"]
    return content["error"]


def test_a_seed_is_the_number_of_an_image_of_the_library(client: TestClient) -> None:
    answer = client.post("/api/sample", json={"classes": ["d", "a", "d"], "n": 3, "seed": 5})
    entries = [(image["class"], image["seed"]) for image in answer.json()["images"]]
    assert entries == [(name, seed) for name in "da" for seed in (5, 6, 7)]
    model = Model(random_bundle("ctf-folders"), "cpu")
    expected = model.images([ImageId(*entry) for entry in entries])[..., 0]
    assert np.array_equal(images_in(answer), expected)


def test_seeds_go_on_at_zero_behind_the_last_one(client: TestClient) -> None:
    answer = client.post("/api/sample", json={"classes": ["a"], "n": 2, "seed": 2**48 - 1})
    assert [image["seed"] for image in answer.json()["images"]] == [2**48 - 1, 0]


def test_a_slide_is_that_of_the_library_and_names_its_ends(client: TestClient) -> None:
    asked = {"from": {"class": "a", "seed": 1}, "to": {"class": "c", "seed": 2}, "steps": 4}
    answer = client.post("/api/slide", json=asked)
    expected = Model(random_bundle("ctf-folders"), "cpu").slide(ImageId("a", 1), ImageId("c", 2), 4)[..., 0]
    assert np.array_equal(images_in(answer), expected)
    entries = [(image["class"], image["seed"]) for image in answer.json()["images"]]
    assert entries == [("a", 1), (None, None), (None, None), ("c", 2)]
    assert [image["position"] for image in answer.json()["images"]] == pytest.approx([0, 1 / 3, 2 / 3, 1])


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "I;16"), ("JPEG", "CMYK"), ("WEBP", "RGB"), ("GIF", "P"),
     ("BMP", "1")],
)  # fmt: skip
def test_an_own_image_of_any_kind_is_enhanced_and_varied(client: TestClient, kind: str, mode: str) -> None:
    content = image_file((31, 20), kind, mode)
    answer = client.post("/api/enhance", data={"class": "b", "n": 2, "seed": 9}, files={"image": content})
    model = Model(random_bundle("ctf-folders"), "cpu")
    own = np.stack([model.fitted(Image.open(BytesIO(content)))])
    shown = images_in(answer)
    assert np.array_equal(shown[0], np.kron(own[0, :, :, 0], np.ones((2, 2))))  # 8x8 at 16x16
    assert np.array_equal(shown[1:2], model.enhance(own, "b", seed=9)[..., 0])
    assert np.array_equal(shown[2:], model.images([ImageId("b", 9), ImageId("b", 10)], low_quality=own)[..., 0])
    assert [image["kind"] for image in answer.json()["images"]] == ["input", "enhanced", "variation", "variation"]


def test_an_animation_counts_as_its_first_picture(client: TestClient) -> None:
    content, frames = BytesIO(), [Image.new("L", (20, 20), grey) for grey in (40, 200, 90)]
    frames[0].save(content, format="GIF", save_all=True, append_images=frames[1:])
    first = images_in(client.post("/api/enhance", data={"class": "b"}, files={"image": content.getvalue()}))[0]
    assert (first == 40).all()


def test_a_sheet_has_a_column_for_each_class(client: TestClient) -> None:
    answer = client.post("/api/sample?as=sheet", json={"classes": ["a", "b", "c"], "n": 2})
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == 'attachment; filename="ctfgan-samples.png"'
    assert Image.open(BytesIO(answer.content)).size == (3 * (16 * 8 + 2), 22 + 2 * (16 * 8 + 2))


def test_an_archive_holds_the_images_and_says_what_they_are(client: TestClient) -> None:
    asked = {"classes": ["a", "b"], "n": 2, "seed": 3}
    answer = client.post("/api/sample?as=zip", json=asked)
    expected = images_in(client.post("/api/sample", json=asked))
    with zipfile.ZipFile(BytesIO(answer.content)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert manifest["model"] == "ctf-folders"
        assert manifest["request"] == {"path": "/api/sample", **asked}
        assert [image["file"] for image in manifest["images"]] == [
            "a/sample-3.png", "a/sample-4.png", "b/sample-3.png", "b/sample-4.png"
        ]  # fmt: skip
        assert set(archive.namelist()) == {"manifest.json", *(image["file"] for image in manifest["images"])}
        for image, pixels in zip(manifest["images"], expected, strict=True):
            assert np.array_equal(np.asarray(Image.open(archive.open(image["file"]))), pixels)
    assert client.post("/api/sample?as=zip", json=asked).content == answer.content


def test_slides_and_enhanced_images_come_as_sheets_and_archives_too(client: TestClient) -> None:
    slide = {"from": {"class": "a"}, "to": {"class": "b"}, "steps": 3}
    form = {"data": {"class": "b", "n": 0}, "files": {"image": image_file()}}
    for answer, names in (
        (client.post("/api/slide?as=zip", json=slide), ["step-000.png", "step-001.png", "step-002.png"]),
        (client.post("/api/enhance?as=zip", **form), ["b/input.png", "b/enhanced-0.png"]),
    ):
        with zipfile.ZipFile(BytesIO(answer.content)) as archive:
            assert archive.namelist() == [*names, "manifest.json"]
    assert Image.open(BytesIO(client.post("/api/slide?as=sheet", json=slide).content)).width == 3 * 130
    assert Image.open(BytesIO(client.post("/api/enhance?as=sheet", **form).content)).width == 2 * 130


def test_no_class_name_leads_out_of_an_archive_or_into_the_page(visit: Callable[..., TestClient]) -> None:
    client = visit(replace(random_bundle("ctf-folders"), classes=UGLY[:5]))
    answer = client.post("/api/sample?as=zip", json={"classes": list(UGLY[:5]), "n": 1})
    with zipfile.ZipFile(BytesIO(answer.content)) as archive:
        for name in archive.namelist():
            parts = name.split("/")
            assert ".." not in parts
            assert not name.startswith("/")
            assert len(parts) <= 2
    assert "<img src" not in client.get("/").text
    again = visit(replace(random_bundle("ctf-folders"), classes=UGLY[2:]))
    assert images_in(again.post("/api/sample", json={"classes": ["Ä b", "line\nbreak"]})).shape[0] == 16
    assert again.get("/api/classes").json()["classes"] == list(UGLY[2:])


@pytest.mark.parametrize(
    ("name", "classes", "enhances"),
    [("ctf-folders", 5, True), ("projection-folders", 5, False), ("ac-gan-folders", 5, False),
     ("sn-gan-folders", 0, False), ("prog-gan-folders", 5, False)],
)  # fmt: skip
def test_the_page_and_the_endpoints_offer_what_the_model_can_do(
    visit: Callable[..., TestClient], name: str, classes: int, enhances: bool
) -> None:
    client = visit(random_bundle(name))
    about = client.get("/api/model").json()
    assert (about["classes"], about["enhances"]) == (classes, enhances)
    page = client.get("/").text
    assert ("Own image" in page) == enhances
    assert ('role="combobox"' in page) == bool(classes)
    assert ("/api/enhance" in client.get("/openapi.json").json()["paths"]) == enhances
    chosen = {"classes": ["a"]} if classes else {}
    ends = [{"class": "a"}, {"class": "c"}] if classes else [{"seed": 1}, {"seed": 2}]
    assert len(images_in(client.post("/api/sample", json={**chosen, "n": 3}))) == 3
    assert len(images_in(client.post("/api/slide", json={"from": ends[0], "to": ends[1], "steps": 5}))) == 5
    if classes:
        assert "no class is chosen" in error_in(client.post("/api/sample", json={}), 422)
        assert "has no class" in error_in(client.post("/api/slide", json={"from": {}, "to": {"class": "a"}}), 422)
    else:
        assert "leave the classes out" in error_in(client.post("/api/sample", json={"classes": ["a"]}), 422)
        assert client.post("/api/sample?as=sheet", json={"n": 3}).status_code == 200
    if not enhances:
        assert "nothing at this address" in error_in(client.post("/api/enhance", files={"image": b""}), 404)


@pytest.mark.parametrize(
    ("path", "content", "status", "message"),
    [
        ("sample", {"classes": ["q"]}, 404, "Unknown class 'q'"),
        ("sample", {"classes": ["a"], "n": 0}, 422, "n is 0, but input should be greater than or equal to 1"),
        ("sample", {"classes": ["a"], "n": 129}, 422, "129 images in one answer; ask for at most 128"),
        ("sample", {"classes": ["a", "b"], "n": 65}, 422, "130 images in one answer"),
        ("sample", {"classes": ["a"], "n": 10**30}, 422, "ask for at most"),
        ("sample", {"classes": ["a"], "seed": -1}, 422, "seed is -1"),
        ("sample", {"classes": ["a"], "seed": 2**48}, 422, "less than 281474976710656"),
        ("sample", {"classes": ["a"], "steps": 4}, 422, "steps is no field of this request"),
        ("sample", {"classes": "a"}, 422, "valid list"),
        ("sample", {"classes": ["a" * 1_001]}, 422, "classes.0 is 'aaaa"),
        ("sample", [], 422, "the request is []"),
        ("slide", {"from": {"class": "a"}}, 422, "to is missing"),
        ("slide", {"from": {"class": "a"}, "to": {"class": "q"}}, 404, "Unknown class 'q'"),
        ("slide", {"from": {"class": "a"}, "to": {"class": "b"}, "steps": 1}, 422, "steps is 1"),
        ("slide", {"from": {"class": "a"}, "to": {"class": "b"}, "steps": 129}, 422, "at most 128"),
        ("slide", {"from": {"class": "a"}, "to": {}}, 422, "an end of the slide has no class"),
        ("sample?as=exe", {"classes": ["a"]}, 422, "as is 'exe'"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_sentence(
    client: TestClient, path: str, content: object, status: int, message: str
) -> None:
    assert message in error_in(client.post(f"/api/{path}", json=content), status)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nothing", b"\xff\xfe", b'{"classes": ["\\ud800"]}', b"[" * 50_000, b'{"n": ' + b"9" * 5_000]
)
def test_a_body_that_is_no_request_is_refused(client: TestClient, body: bytes) -> None:
    answer = client.post("/api/sample", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    error_in(answer, answer.status_code)


def test_other_forms_than_json_are_refused(client: TestClient) -> None:
    plain = client.post("/api/sample", content=b'{"classes": ["a"]}', headers={"Content-Type": "text/plain"})
    assert "send it with Content-Type: application/json" in error_in(plain, 415)
    assert "send multipart/form-data" in error_in(client.post("/api/enhance", json={"class": "a"}), 415)


def test_classes_are_found_page_by_page(client: TestClient) -> None:
    assert client.get("/api/classes?limit=2&offset=1").json() == {"classes": ["b", "c"], "more": True}
    assert client.get("/api/classes?search=E").json() == {"classes": ["e"], "more": False}
    assert "limit is '201'" in error_in(client.get("/api/classes?limit=201"), 422)
    assert "add a letter" in error_in(client.get("/api/classes?search=a&offset=10001"), 422)


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    for text in (client.get("/").text, *(client.get(f"/static/{name}").text for name in ("page.js", "page.css"))):
        assert "https://" not in text
        assert "//cdn" not in text
        assert "<script>" not in text
        assert " style=" not in text
        assert "onclick" not in text


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/..%2Fapp.py", "/static/%2e%2e/app.py", "/static/%2Fetc%2Fpasswd", "/static/",
     "/static/page.css/", "/static/..\\app.py", "/static/page.css%00.png", "//etc/passwd", "/..;/app.py", "/nothing"],
)  # fmt: skip
def test_no_path_of_the_server_is_reachable(client: TestClient, path: str) -> None:
    assert "nothing at this address" in error_in(client.get(path), 404)


def test_a_wrong_method_is_told(client: TestClient) -> None:
    assert "takes no such request" in error_in(client.get("/api/sample"), 405)
    assert "takes no such request" in error_in(client.delete("/"), 405)
