"""The page in a real Chromium, over a real server; skipped where no Chromium is installed."""

import io
import json
import urllib.request

import numpy as np
import pytest
from PIL import Image

from chromium import chromium, open_page
from paha_core.media.audio import write_wav


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def url(browser, serve, tmp_path_factory):
    with serve(tmp_path_factory.mktemp("served")) as (url, _):
        yield url


@pytest.fixture
def page(browser, url):
    page = open_page(browser, viewport={"width": 1280, "height": 900})
    failures = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(url)
    page.locator("#mode option").first.wait_for(state="attached")
    yield page
    page.context.close()
    assert failures == []


@pytest.fixture(scope="module")
def long_voice(tmp_path_factory):
    """2 s: five segments of the smoke preset."""
    path = tmp_path_factory.mktemp("voice") / "long.wav"
    write_wav(path, 0.3 * np.sin(700 * np.arange(32000) / 16000), 16000)
    return path.read_bytes()


def upload(page, picture, voice):
    page.set_input_files("#image", {"name": "me.png", "mimeType": "image/png", "buffer": picture})
    page.set_input_files("#audio", {"name": "v.wav", "mimeType": "audio/wav", "buffer": voice})


def test_a_video_is_made_watched_and_made_again(page, url, picture, voice):
    upload(page, picture, voice)
    assert page.locator("#preview").is_visible()
    page.click("#generate")
    card = page.locator(".card").first
    card.locator("video").wait_for(state="visible")
    done = page.locator(".card[data-state=done]")
    done.wait_for()
    screen = done.locator("video")
    page.wait_for_function("s => s.readyState >= 2", arg=screen.element_handle())
    assert screen.evaluate("s => s.duration") == pytest.approx(0.48, abs=0.05)
    assert screen.evaluate("s => s.videoWidth") > 0
    sidecar = urllib.request.urlopen(url + done.locator(".sidecar").get_attribute("href"))
    assert json.load(sidecar)["marked"]

    done.locator(".again").click()
    again = page.locator(".card", has_text="seed 1")
    again.and_(page.locator("[data-state=done]")).wait_for()
    page.reload()  # the history is the server's
    page.locator(".card").nth(1).wait_for()


def test_a_stream_plays_before_it_is_done(page, picture, long_voice):
    """`<video>` on the chunked response shows frames while later segments are generated."""
    upload(page, picture, long_voice)
    page.click("summary")
    page.fill("#steps", "12")
    page.select_option("#mode", "unguided")
    page.click("#generate")
    page.wait_for_function(
        """() => {
            const card = document.querySelector('.card');
            const screen = card && card.querySelector('video');
            return screen && screen.dataset.of === 'stream' && screen.readyState >= 2
                && card.dataset.state === 'running';
        }"""
    )
    card = page.locator(".card").first
    assert card.locator(".state").inner_text().startswith("Segment ")
    card.locator(".cancel").click()
    page.locator(".card[data-state=cancelled]").first.wait_for()


def test_a_text_and_two_modes_side_by_side_by_keyboard_alone(page):
    page.locator("#examples button").first.focus()
    page.keyboard.press("Enter")
    page.locator("#preview").wait_for(state="visible")
    page.focus("#text")
    page.keyboard.type("Hi")
    assert page.locator("#other option[value=unguided]").count() == 1
    page.focus("#generate")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    before = page.locator(".card").count()
    page.keyboard.press("Enter")
    page.wait_for_function("n => document.querySelectorAll('.card').length > n", arg=before)
    cancel = page.locator(".card").first.locator(".cancel")
    cancel.focus()
    page.keyboard.press("Enter")
    cancel.wait_for(state="hidden")


def test_what_is_no_portrait_is_told_in_words(page, voice):
    out = io.BytesIO()
    Image.new("RGB", (128, 128), "grey").save(out, "png")
    page.click("#generate")
    assert page.locator("#problem").inner_text() == "Choose a portrait first."
    upload(page, out.getvalue(), voice)
    page.click("#generate")
    failed = page.locator(".card[data-state=failed]").first  # behind what is still computed
    failed.wait_for()
    assert "no face was found" in failed.locator(".state").inner_text()
    upload(page, b"<svg/>", voice)
    page.click("#generate")
    page.wait_for_function("() => document.querySelector('#problem').textContent !== ''")
    assert "not a picture" in page.locator("#problem").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_cut_off_on_a_phone_and_contrast_holds(browser, url, width, scheme):
    page = open_page(browser, viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(url)
    page.locator("#examples img").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    unlabelled = (
        "[...document.querySelectorAll('input,select,textarea')].filter(e => !e.labels.length)"
    )
    assert page.evaluate(f"{unlabelled}.length") == 0
    for selector in (".hint", "#generate", "label"):
        assert contrast(page, selector) >= 4.5
    page.context.close()


def contrast(page, selector):
    """WCAG's ratio of an element's text to what is behind it."""
    colours = page.locator(selector).first.evaluate(
        """e => {
            let b = e;
            const clear = (x) => getComputedStyle(x).backgroundColor === 'rgba(0, 0, 0, 0)';
            while (clear(b)) b = b.parentElement;
            return [getComputedStyle(e).color, getComputedStyle(b).backgroundColor];
        }"""
    )

    def luminance(text):
        values = [int(v) / 255 for v in text[text.index("(") + 1 : -1].split(",")[:3]]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted(map(luminance, colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_a_portrait_from_the_webcam_and_a_voice_from_the_microphone(page):
    """Chromium's own test picture and beep in place of devices."""
    page.click("#webcam")
    page.get_by_text("Take the picture").click()
    page.locator("#preview").wait_for(state="visible")
    assert page.locator("#preview").evaluate("i => i.decode().then(() => i.naturalWidth)") > 0
    page.click("#record")
    page.get_by_text("Stop recording").wait_for()
    page.wait_for_timeout(500)  # of sound
    page.click("#record")
    page.locator("#heard").wait_for(state="visible")
    page.click("#generate")  # the test picture has no face: both were read on the server
    failed = page.locator(".card[data-state=failed]").first
    failed.wait_for()
    assert "no face was found" in failed.locator(".state").inner_text()


def test_an_adapter_is_chosen_from_those_of_the_server(page, picture, voice):
    upload(page, picture, voice)
    page.select_option("#adapter", "me")
    page.click("#generate")
    page.locator(".card").first.get_by_text("me, ").wait_for()  # the new one comes first
    page.locator(".card").first.locator(".cancel").click()
    page.wait_for_function("() => document.querySelector('.card').dataset.state !== 'queued'")
