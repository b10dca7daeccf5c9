"""The page of `make app`: what it answers and refuses, which run it uses, and that nothing leaves this machine."""

import html
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from builders import TINY_SIZE, draw, tiny_extractor
from phototransfer import app, files
from phototransfer.app import LoadedRuns, Refused, answer, main, read_upload
from phototransfer.network.complete_model import complete_model
from phototransfer.network.novelty import TrainingFeatures
from phototransfer.report import TRAINING_FEATURES

CHROMIUM = "/usr/bin/chromium"
LABELS = ["<b>cat</b>", "<b>cat</b>", "dog", "dog"]
CLASSES = sorted(set(LABELS))

needs_gradio = pytest.mark.skipif(not importlib.util.find_spec("gradio"), reason="gradio is not installed")


def save_run(folder: Path, classes: list[str] = CLASSES, labels: list[str] = LABELS) -> None:
    """Write a run that was trained on four pictures; the last two are test photos as well."""
    extractor = tiny_extractor()
    head = keras.Sequential([keras.Input((5,)), keras.layers.Dense(len(classes), activation="softmax")], name="head")
    image = keras.Input((TINY_SIZE, TINY_SIZE, 3))
    model = complete_model(keras.Model(image, head(extractor(image))), "crop")
    folder.mkdir(parents=True)
    model.save(folder / "model.keras")
    (folder / "labels.json").write_text(json.dumps(classes))
    (folder / "preparation.json").write_text(json.dumps({"fit": "crop", "ranges": {}}))
    metrics = {"backbone": "tiny", "photos": {"train": 4, "test": 2}, "accuracy": {"test": 0.5}}
    (folder / "metrics.json").write_text(json.dumps(metrics))

    seen = np.stack([np.asarray(model.get_layer("prepare")(np.asarray(draw(n))[None]))[0] for n in range(len(labels))])
    features = np.asarray(extractor(seen))
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    originals = [f"{number}.png" for number in range(len(labels))]
    threshold = float((1 - features @ features.T).max()) + 1e-3
    training = TrainingFeatures(features.astype(np.float16), np.array(labels), np.array(originals), threshold, 0.02)
    np.savez(folder / TRAINING_FEATURES, **training.arrays())

    prepared = files.PROJECT / "data" / "prepared"
    prepared.mkdir(parents=True, exist_ok=True)
    for number, original in enumerate(originals):
        draw(number).save(prepared / original)
    table = pd.DataFrame({"path": [f"data/prepared/{original}" for original in originals], "original": originals})
    table = table.assign(label=labels, split=["train", "train", "test", "test"], correct=[True, True, True, False])
    table.to_csv(folder / "predictions.csv", index=False)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PROJECT", tmp_path / "project")
    monkeypatch.setattr(files, "MODELS", tmp_path / "project" / "models")
    save_run(files.MODELS / "pets")
    return files.PROJECT


def test_the_answer_shows_classes_highlight_and_nearest_training_photos(project, tmp_path):
    draw(2, (400, 300)).save(tmp_path / "photo.jpg")
    found = answer(LoadedRuns().get("pets"), tmp_path / "photo.jpg")
    assert list(found.probabilities) == CLASSES and sum(found.probabilities.values()) == pytest.approx(1)
    best = max(found.probabilities, key=lambda label: found.probabilities[label])
    assert html.escape(best) in found.text and "<b>cat</b>" not in found.text.replace(html.escape("<b>cat</b>"), "")
    assert "Unlike" not in found.text
    assert found.picture.size == (400, 300)
    assert found.highlighted is None or found.highlighted.shape == (TINY_SIZE, TINY_SIZE, 3)
    captions = re.findall("<figcaption>(.*?)</figcaption>", found.nearest)
    assert len(captions) == 3 and set(captions) <= {html.escape(label) for label in LABELS}
    assert found.nearest.count("<img ") == 3 and "missing" not in found.nearest


def test_a_photo_unlike_the_training_photos_is_shown_as_such(project, tmp_path):
    run = LoadedRuns().get("pets")
    object.__setattr__(run.model.training_features, "threshold", -1.0)  # everything is further away
    draw(2).save(tmp_path / "photo.png")
    found = answer(run, tmp_path / "photo.png")
    assert "Unlike the training photos" in found.text and 'class="notice"' in found.text


def test_a_run_without_training_features_and_photos_still_answers(project, tmp_path):
    (files.MODELS / "pets" / TRAINING_FEATURES).unlink()
    (files.MODELS / "pets" / "predictions.csv").unlink()
    draw(2).save(tmp_path / "photo.png")
    run = LoadedRuns().get("pets")
    found = answer(run, tmp_path / "photo.png")
    assert found.probabilities and "Unlike" not in found.text and "<img" not in found.nearest
    assert run.examples() == []


def test_missing_training_photos_are_said(project, tmp_path):
    shutil.rmtree(project / "data")
    draw(2).save(tmp_path / "photo.png")
    run = LoadedRuns().get("pets")
    found = answer(run, tmp_path / "photo.png")
    assert found.nearest.count("missing") >= 3
    assert run.examples() == []


def test_examples_are_test_photos_with_an_incorrect_one_first_and_their_class_is_compared(project):
    run = LoadedRuns().get("pets")
    assert [(path.name, label) for path, label in run.examples()] == [("3.png", "dog"), ("2.png", "dog")]
    path, label = run.examples()[0]
    found = answer(run, path, label)
    best = max(found.probabilities, key=lambda label: found.probabilities[label])
    assert ("incorrect" in found.text) == (best != label) and "correct" in found.text


def test_photos_of_any_kind_are_upright(project, tmp_path):
    turned = Image.Exif()
    turned[274] = 6
    draw(2, (80, 60)).rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=turned, quality=95)
    draw(2, (80, 60)).save(tmp_path / "phone.heic", quality=95)
    run = LoadedRuns().get("pets")
    for name in ("turned.jpg", "phone.heic"):
        picture = answer(run, tmp_path / name).picture
        assert picture.size == (80, 60)
        assert np.abs(np.asarray(picture, float) - np.asarray(draw(2, (80, 60)), float)).mean() < 8


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("text.jpg", b"no photo", "not a picture"),
        ("empty.jpg", b"", "empty"),
        ("cut.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "cannot be used"),
    ],
)
def test_what_is_not_a_picture_is_refused_with_the_reason(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Refused, match=reason):
        read_upload(tmp_path / name, {})


@pytest.mark.parametrize("size, shown", [((8000, 6251), "8000 × 6251"), ((60_000, 9000), "50 megapixels")])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch, size, shown):
    monkeypatch.setattr("phototransfer.photos.decode.read_pixels", lambda *_: pytest.fail("decoded"))
    Image.new("1", size).save(tmp_path / "large.png")
    with pytest.raises(Refused, match=shown):
        read_upload(tmp_path / "large.png", {})


def test_runs_are_loaded_once_and_again_if_saved_again_and_few_are_kept(project, monkeypatch):
    for name in ("a", "b"):
        shutil.copytree(files.MODELS / "pets", files.MODELS / name)
    runs = LoadedRuns(most=2)
    first = runs.get("pets")
    assert runs.get("pets") is first
    os.utime(files.MODELS / "pets" / "model.keras", (1, 1))
    second = runs.get("pets")
    assert second is not first
    runs.get("a")
    assert runs.get("pets") is second
    runs.get("b")  # "a" was used least recently
    assert runs.get("pets") is second
    assert len(runs._runs) == 2


def test_a_run_that_cannot_be_loaded_is_refused_with_the_reason(project):
    (files.MODELS / "pets" / "model.keras").write_bytes(b"damaged")
    with pytest.raises(Refused, match="cannot be loaded"):
        LoadedRuns().get("pets")
    with pytest.raises(Refused, match="'other'"):
        LoadedRuns().get("other")


def test_two_people_at_once_get_the_answers_that_each_gets_alone(project, tmp_path):
    runs, photos = LoadedRuns(), [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(photos):
        draw(number, (200, 150)).save(path)
    alone = [answer(runs.get("pets"), path).probabilities for path in photos]
    together: list = [None] * 24

    def work(number: int) -> None:
        together[number] = answer(runs.get("pets"), photos[number % 4]).probabilities

    threads = [threading.Thread(target=work, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [pytest.approx(alone[number % 4]) for number in range(24)]


@needs_gradio
def test_nothing_is_reported_to_anybody(project, monkeypatch):
    for name in app.PRIVATE:
        monkeypatch.delenv(name, raising=False)
    with monkeypatch.context() as context:
        context.setattr(os, "environ", dict(os.environ))
        app._import_gradio()
        assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
        page = app.build_page(LoadedRuns(), "pets")
    assert page.analytics_enabled is False and not getattr(page, "share", False)
    assert "*" not in app.CONTENT_SECURITY_POLICY and "http" not in app.CONTENT_SECURITY_POLICY


@needs_gradio
def test_the_server_answers_only_under_the_name_of_this_machine(project):
    from starlette.testclient import TestClient

    server = app.build_server(app.build_page(LoadedRuns(), "pets"))
    with TestClient(server, base_url="http://127.0.0.1") as client:
        done = client.get("/")
        assert done.status_code == 200 and done.headers["content-security-policy"] == app.CONTENT_SECURITY_POLICY
        assert client.get("/", headers={"host": "evil.example"}).status_code == 400
        for path in (files.MODELS / "pets" / "model.keras", "/etc/hostname"):
            assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)


@pytest.mark.parametrize("arguments", [["--port", "0"], ["--port", "x"], ["--port", "70000"], ["photo.jpg"]])
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and arguments[-1] in capsys.readouterr().err


def test_messages_before_anything_slow_is_imported(project, capsys, monkeypatch):
    monkeypatch.setattr(app, "_import_gradio", lambda: pytest.fail("imported"))
    assert main(["--run", "other"]) == 2
    assert "'other'" in capsys.readouterr().err
    shutil.rmtree(files.MODELS)
    assert main([]) == 2
    assert "make run" in capsys.readouterr().err


def test_without_gradio_the_message_says_how_to_install_it(project, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main(["--port", "8790"]) == 2
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "requirements-app.txt" in capsys.readouterr().err


def test_a_port_in_use_gives_the_next_free_one(capsys):
    with app._listen(8800) as first:
        port = first.getsockname()[1]
        capsys.readouterr()
        with app._listen(port) as second:
            assert second.getsockname()[0] == app.ADDRESS and second.getsockname()[1] > port
            assert f"{port} is in use" in capsys.readouterr().out


@pytest.fixture
def running(project, tmp_path):
    """The app in a process of its own; yield its address, then end it with Ctrl-C, which must leave nothing behind."""
    (tmp_path / "temporary").mkdir()
    environment = os.environ | {"PHOTOTRANSFER_HOME": str(project), "TMPDIR": str(tmp_path / "temporary")}
    with socket.socket() as free:
        free.bind((app.ADDRESS, 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "phototransfer.app", "--port", str(port)]
    with (tmp_path / "app.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        for _ in range(600):
            printed = (tmp_path / "app.log").read_text()
            if "Open http" in printed or process.poll() is not None:
                break
            time.sleep(0.1)
        [address] = re.findall(r"Open (http://127\.0\.0\.1:\d+) ", printed)
        yield address
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in (tmp_path / "app.log").read_text()
    assert list((tmp_path / "temporary").glob("phototransfer-*")) == []


@needs_gradio
@pytest.mark.skipif(not importlib.util.find_spec("playwright"), reason="playwright is not installed")
@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"{CHROMIUM} is not installed")
def test_in_a_browser(running, tmp_path):
    from playwright.sync_api import expect, sync_playwright

    save_run(files.MODELS / "second", ["rex", "tom"], ["rex", "tom", "rex", "tom"])
    (files.MODELS / "broken").mkdir()
    (files.MODELS / "broken" / "model.keras").write_bytes(b"damaged")
    (files.MODELS / "broken" / "labels.json").write_text('["a", "b"]')
    draw(2, (300, 200)).save(tmp_path / "photo.jpg")
    draw(2, (300, 200)).save(tmp_path / "phone.heic")
    (tmp_path / "text.jpg").write_text("no photo")
    Image.new("1", (9000, 7000)).save(tmp_path / "large.png")
    urls = []
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        for width, height in ((1280, 900), (390, 844)):
            page = browser.new_page(viewport={"width": width, "height": height})
            page.on("request", lambda request: urls.append(request.url))
            page.goto(running)
            shown, chooser = page.locator("#answer"), page.locator("#photo input[type=file]")

            def clear(page=page):
                page.get_by_label("Remove Image").click()
                expect(page.locator("#answer .answer, #answer .notice")).to_have_count(0)

            expect(page.locator("#examples img")).to_have_count(2)
            for name in ("photo.jpg", "phone.heic"):
                chooser.set_input_files(tmp_path / name)
                expect(shown).to_contain_text("The model answers", timeout=30_000)
                expect(page.locator("#nearest img")).to_have_count(3)
                page.wait_for_function("document.querySelector('#photo img')?.naturalWidth === 300")  # HEIC, too
                expect(page.locator("#classes")).to_contain_text("<b>cat</b>")
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                clear()
            chooser.set_input_files(tmp_path / "text.jpg")
            expect(shown).to_contain_text("not a picture", timeout=30_000)
            chooser.set_input_files(tmp_path / "large.png")
            expect(shown).to_contain_text("50 megapixels", timeout=30_000)
            page.locator("#examples button").first.click()
            expect(shown).to_contain_text("The class of this test photo is dog", timeout=30_000)

            page.get_by_label("Run").click()
            page.get_by_role("option", name="second").click()
            expect(page.locator("#classes")).to_contain_text("rex", timeout=30_000)
            page.get_by_label("Run").click()
            page.get_by_role("option", name="broken").click()
            expect(shown).to_contain_text("cannot be loaded", timeout=30_000)
            page.close()
    assert urls and {url.split("/")[2] for url in urls if url.startswith("http")} == {running.split("/")[2]}
    assert all(url.startswith(("http", "data:", "blob:")) for url in urls)
