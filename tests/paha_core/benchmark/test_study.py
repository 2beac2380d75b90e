"""The user study: what its page gives away, what happens to answers, and whether the analysis finds
the taste of simulated raters."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chromium import LIMIT, chromium, open_page
from paha_core.benchmark.measuring.videos import collect_videos
from paha_core.benchmark.report.page import build_report
from paha_core.benchmark.study import answers
from paha_core.benchmark.study.analyse import (
    Vote,
    analyse,
    bradley_terry,
    fleiss_kappa,
    load,
    save,
    to_markdown,
)
from paha_core.benchmark.study.design import QUESTIONS, AnswerKey, Study, load_study, make_study
from paha_core.benchmark.study.serve import server
from paha_core.config import Preset
from paha_core.errors import UserError
from paha_core.media.probe import probe
from paha_core.store import Store

SYSTEMS = ["unguided", "sequential", "differential"]


@pytest.fixture(scope="module")
def folder(run_store: Store, run_preset: Preset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    systems = collect_videos(run_store, run_preset)
    make_study(run_store, run_preset, systems, SYSTEMS, folder, clips=3, form="pairs")
    return folder


def test_a_study_is_blind_and_every_video_is_encoded_alike(folder: Path) -> None:
    study, key = load_study(folder)
    public = (folder / "index.html").read_text() + (folder / "study.json").read_text()
    for name in (*SYSTEMS, "pats", "oliver"):
        assert name not in public
    rating = [item for item in study.items if item.kind == "rating"]
    assert len(rating) == 3 * 3  # every two of three systems for each clip
    assert all(item.questions == QUESTIONS for item in rating)
    sizes = set()
    for item in rating:
        assert len({key.clips[option] for option in item.options}) == 1
        for option in item.options:
            info = probe(folder / "media" / option)
            sizes.add((info.width, info.height, info.has_audio, info.fps))
    assert len(sizes) == 1
    counts = [sum(key.systems[o] == s for i in rating for o in i.options) for s in SYSTEMS]
    assert counts == [6, 6, 6]
    assert {item.kind for item in study.items} == {"rating", "attention", "audio"}


def test_the_same_arguments_make_the_same_study(
    folder: Path, run_store: Store, run_preset: Preset, tmp_path: Path
) -> None:
    systems = collect_videos(run_store, run_preset)
    again = make_study(run_store, run_preset, systems, SYSTEMS, tmp_path, clips=3, form="pairs")
    assert again == load_study(folder)[0]
    one = load_study(folder)[0].items[0].options[0]
    assert (tmp_path / "media" / one).read_bytes() == (folder / "media" / one).read_bytes()
    with pytest.raises(UserError, match="at least two systems"):
        make_study(run_store, run_preset, systems, ["unguided"], tmp_path)
    with pytest.raises(UserError, match="no videos of 'S2G' were evaluated"):
        make_study(run_store, run_preset, systems, ["unguided", "S2G"], tmp_path)


# --- answers --------------------------------------------------------------------------------------


def answer(study: Study, **more: object) -> answers.Answer:
    base = {"study": study.name, "rater": "r", "item": "item0", "question": "overall"}
    return answers.checked(base | {"choice": "x.mp4", "seconds": 3.0} | more)


def post(url: str, data: object) -> int:
    body = json.dumps(data).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/answers", body)) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_server_serves_the_page_alone_and_stores_nothing_personal(
    folder: Path,
) -> None:
    study, key = load_study(folder)
    with server(folder) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{running.server_address[1]}"
        assert b"Talking people" in urllib.request.urlopen(url).read()
        assert urllib.request.urlopen(f"{url}/media/{next(iter(key.systems))}").read()
        hidden = (
            "key.json",
            "answers.jsonl",
            "media/../key.json",
            "media/%2e%2e/key.json",
            "media/",
        )
        for path in hidden:
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{url}/{path}")
            assert refused.value.code == 404
        threads = [
            threading.Thread(target=post, args=(url, [answer(study, rater=f"r{k}")] * 2))
            for k in range(16)  # many browsers at once
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert post(url, [answer(study) | {"name": "Ann", "ip": "1.2.3.4"}]) == 200
        assert post(url, [answer(study) | {"study": "another"}]) == 400
        assert post(url, [answer(study) | {"choice": 3}]) == 400
        assert post(url, {"not": "a list"}) == 400
        running.shutdown()
    found, bad = answers.read([folder / answers.FILE])
    assert (len(found), bad) == (33, 0)
    assert "Ann" not in (folder / answers.FILE).read_text()
    (folder / answers.FILE).unlink()


def test_an_answer_that_was_confirmed_survives_kill_9(folder: Path) -> None:
    study, _ = load_study(folder)
    code = "import sys; from paha_core.cli import app; app(sys.argv[1:])"
    command = [sys.executable, "-c", code, "study", "serve", str(folder), "--port", "0"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1)
    found = re.search(r"http://127\.0\.0\.1:\d+", child.stdout.readline())
    for k in range(20):
        assert post(found[0], [answer(study, rater=f"r{k}")]) == 200
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with open(folder / answers.FILE, "ab") as file:
        file.write(b'{"study": "' + study.name.encode())  # as a kill within a write leaves it
    answers.append(folder / answers.FILE, [answer(study, rater="after")])
    found, bad = answers.read([folder / answers.FILE])
    assert ([a["rater"] for a in found], bad) == ([*(f"r{k}" for k in range(20)), "after"], 1)
    (folder / answers.FILE).unlink()


# --- a browser ------------------------------------------------------------------------------------

RANKS = {"unguided": 0, "sequential": 1, "differential": 2}  # a rater's taste


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


def begin(page: Any) -> None:
    """Past the consent, by keys alone."""
    for key in ("Tab", "Space", "Tab", "Enter"):
        page.keyboard.press(key)
    page.wait_for_selector("#task:not([hidden])")


def play(page: Any, number: int) -> None:
    """Press P, again where a video hangs, until the page takes `number` videos for played."""
    from playwright.sync_api import TimeoutError as TooLong

    played = "n => document.querySelectorAll('[data-played]').length >= n"
    for patience in (15_000, 30_000, 60_000, LIMIT):
        page.keyboard.press("p")
        try:
            page.wait_for_function(played, arg=number, timeout=patience)
            return
        except TooLong:
            continue
    pytest.fail(f"video {number} does not play: {page.inner_text('#options')!r}")


def rate(page: Any, key: AnswerKey, *, mouse: bool = False) -> None:
    """Play every video of the item that is shown, answer its questions, go on with Enter."""
    before = page.inner_text("#progress")
    for k in range(page.locator("video").count()):
        play(page, k + 1)
        page.eval_on_selector_all("video", "videos => videos.forEach(video => video.pause())")
    page.clock.fast_forward(20_000)
    for asked in page.locator("fieldset").all():
        values = [box.get_attribute("value") for box in asked.locator("input").all()]
        right = key.answers.get(asked.get_attribute("data-name"))
        if right is None:
            right = max(values, key=lambda value: RANKS[key.systems[value]])
        if mouse:
            asked.locator("input").nth(values.index(right)).check()
        else:
            page.keyboard.press(str(values.index(right) + 1))
    page.keyboard.press("Enter")
    gone_on = "document.getElementById('progress').textContent !== before"
    page.wait_for_function(
        f"before => document.getElementById('task').hidden || {gone_on}", arg=before
    )


def test_raters_of_known_taste_in_a_real_browser(folder: Path, browser: Any) -> None:
    """One by keys, with a reload in the middle; one by mouse, whose answers can't be sent."""
    _, key = load_study(folder)
    files = [folder / answers.FILE, folder / "by-hand.jsonl"]
    with server(folder) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        for mouse in (False, True):
            page = open_page(browser, accept_downloads=True)
            page.clock.install()
            if mouse:
                page.route("**/answers", lambda route: route.abort())
            page.goto(f"http://127.0.0.1:{running.server_address[1]}")
            begin(page)
            rate(page, key, mouse=mouse)
            if not mouse:
                page.reload()
                begin(page)
                assert page.inner_text("#progress").startswith("2 of ")
            while page.is_visible("#task"):
                rate(page, key, mouse=mouse)
            if mouse:
                with page.expect_download() as download:
                    page.click("#download")
                download.value.save_as(files[1])
            else:
                page.wait_for_selector("#saved:visible")
            page.context.close()
        running.shutdown()
    result = analyse(folder, files)
    assert (result.raters, result.excluded, result.repeated) == (2, {}, 0)
    shares = {(one.system, one.question): one.share.value for one in result.preferences}
    for question in QUESTIONS:
        assert [shares[system, question] for system in RANKS] == [0.0, 0.5, 1.0]
    for file in files:
        file.unlink()


def test_a_video_is_loaded_again_when_the_network_is_back(folder: Path, browser: Any) -> None:
    down, asked = True, 0

    def answer_media(route: Any) -> None:
        nonlocal asked
        asked += down
        _ = route.abort() if down else route.continue_()

    with server(folder) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        page = open_page(browser)
        page.clock.install()
        page.route("**/media/**", answer_media)
        page.goto(f"http://127.0.0.1:{running.server_address[1]}")
        begin(page)
        videos = page.locator("video").count()
        for _ in range(4):
            page.wait_for_function("[...document.querySelectorAll('video')].every(v => v.error)")
            page.clock.fast_forward(10_000)
        page.get_by_text("can't be loaded. Check your connection.").nth(videos - 1).wait_for()
        assert asked == 5 * videos
        down = False
        page.locator("figcaption button").first.click()
        page.locator("[data-played]").wait_for()
        for number in range(2, videos + 1):
            play(page, number)
        assert page.get_by_text("can't be loaded").count() == 0
        page.context.close()
        running.shutdown()


# --- analysis -------------------------------------------------------------------------------------


def simulated(
    study: Study,
    key: AnswerKey,
    raters: int,
    taste: dict[str, float],
    seed: int = 0,
    **more: object,
) -> list[answers.Answer]:
    """Raters who choose by Bradley-Terry's rule with these strengths, and pass the checks."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(raters):
        who = {"rater": f"s{seed}-{k}"}
        for check, right in key.answers.items():
            found.append(answer(study, **who, item=check, question=check, choice=right))
        for item in study.items:
            if item.kind != "rating":
                continue
            odds = np.exp([taste[key.systems[option]] for option in item.options])
            for question in QUESTIONS:
                choice = rng.choice(item.options, p=odds / odds.sum())
                found.append(
                    answer(
                        study, **who, item=item.name, question=question, choice=str(choice), **more
                    )
                )
    return found


TASTE = {"unguided": -1.0, "sequential": 0.0, "differential": 1.0}


def test_the_analysis_finds_the_raters_taste(folder: Path, tmp_path: Path) -> None:
    study, key = load_study(folder)
    path = tmp_path / "answers.jsonl"
    answers.append(path, simulated(study, key, 60, TASTE))
    result = analyse(folder, [path])
    assert (result.raters, result.excluded, result.repeated) == (60, {}, 0)
    for one in result.preferences:
        assert one.strength == pytest.approx(TASTE[one.system], abs=0.25)
        assert one.chance == 0.5
        others = [s for s in SYSTEMS if s != one.system]
        odds = [
            np.exp(TASTE[one.system]) / (np.exp(TASTE[one.system]) + np.exp(TASTE[s]))
            for s in others
        ]
        assert one.share.low - 0.03 <= np.mean(odds) <= one.share.high + 0.03
    # A rater's vote depends on the systems alone: clips of one pair are alike, no more.
    assert all(abs(kappa) < 0.05 for kappa in result.agreement.values())


def test_random_raters_prefer_no_system(folder: Path, tmp_path: Path) -> None:
    study, key = load_study(folder)
    path = tmp_path / "answers.jsonl"
    answers.append(path, simulated(study, key, 60, dict.fromkeys(SYSTEMS, 0.0)))
    result = analyse(folder, [path])
    outside = sum(not p.share.low <= 0.5 <= p.share.high for p in result.preferences)
    assert outside <= 2  # of 12
    assert all(abs(kappa) < 0.05 for kappa in result.agreement.values())


def test_raters_who_fail_a_check_are_excluded_and_count_once(folder: Path, tmp_path: Path) -> None:
    study, key = load_study(folder)
    path = tmp_path / "answers.jsonl"
    good = simulated(study, key, 5, TASTE)
    deaf = [
        a | {"choice": "6"} if a["item"] == "audio" else a
        for a in simulated(study, key, 1, {s: -t for s, t in TASTE.items()}, seed=1)
    ]
    gone = [a for a in simulated(study, key, 1, TASTE, seed=2) if a["item"] != "attention"]
    fast = simulated(study, key, 1, TASTE, seed=3, seconds=0.2)
    twice = [a | {"choice": next(iter(key.systems))} for a in good if a["item"] == "item0"]
    answers.append(path, [*good, *deaf, *gone, *fast, *twice])
    result = analyse(folder, [path])
    assert result.excluded == {
        "s1-0": "failed audio",
        "s2-0": "did not take attention",
        "s3-0": "answered in 0.2 s at the median",
    }
    assert result.repeated == len(twice)
    alone = tmp_path / "alone.jsonl"
    answers.append(alone, good)
    assert analyse(folder, [alone]).preferences == result.preferences


def test_strengths_have_a_closed_form_for_two_and_stay_finite() -> None:
    votes = [
        Vote(str(k), "i", "overall", "a" if k < 75 else "b", ("b" if k < 75 else "a",))
        for k in range(100)
    ]
    found = bradley_terry(votes, ["a", "b"])
    assert found["a"] - found["b"] == pytest.approx(np.log(75.1 / 25.1), abs=1e-6)
    always = bradley_terry(votes[:75], ["a", "b"])
    assert np.isfinite(always["b"])
    four = [
        Vote(str(k), "i", "overall", w, tuple(set("abcd") - {w})) for k, w in enumerate("aaaaabbcd")
    ]
    shares = bradley_terry(four, list("abcd"))
    assert shares["a"] - shares["c"] == pytest.approx(np.log(5.1 / 1.1), abs=1e-6)


def test_kappa_is_fleiss_own_example_where_all_items_have_equal_raters() -> None:
    """Fleiss 1971: ten subjects, fourteen raters, five categories: kappa 0.210."""
    table = """0 0 0 0 14;0 2 6 4 2;0 0 3 5 6;0 3 9 2 0;2 2 8 1 1;7 7 0 0 0;3 2 6 3 0;2 5 3 2 2;
    6 5 2 1 0;0 2 2 3 7"""
    votes = []
    for item, row in enumerate(table.split(";")):
        for category, count in enumerate(map(int, row.split())):
            others = tuple(set("01234") - {str(category)})
            chosen = str(item), "overall", str(category), others
            votes += [Vote(str(k), *chosen) for k in range(count)]
    assert fleiss_kappa(votes) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa(votes[:1]) is None
    alike = [replace(vote, winner="0", losers=tuple("1234")) for vote in votes]
    assert fleiss_kappa(alike) is None  # no chance to disagree


def test_table_4_is_beside_the_papers_in_the_report(
    folder: Path, run_store: Store, run_preset: Preset, tmp_path: Path
) -> None:
    study, key = load_study(folder)
    path = tmp_path / "answers.jsonl"
    answers.append(path, simulated(study, key, 4, TASTE))
    result = analyse(folder, [path])
    save(run_store, result)
    assert load(run_store) == result
    text = to_markdown(result)
    assert "| PAHA-DG, printed in the paper | 63.8 % | 62.6 % | 64.6 % | 69.4 % |" in text
    page = run_store.read_bytes(build_report(run_store, run_preset)).decode()
    assert "Table 4, the user study" in page
    assert "69.4 %" in page
    run_store.remove("benchmark/study.json")
