"""How far long work is, in a log."""

import logging

import pytest

from paha_core.engine.progress import Progress, duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (99, "99 s"), (100, "2 min"), (5940, "99 min"), (6030, "1 h 40 min")],
)
def test_durations_are_for_people(seconds, words):
    assert duration(seconds) == words


def test_a_log_gets_the_time_left(caplog):
    with caplog.at_level(logging.INFO, "paha"):
        Progress(1000, "univdm", unit="step", every=0.0).update(10, note="loss 0.1")
    assert "univdm: 10 of 1000" in caplog.text
    assert " left, loss 0.1" in caplog.text
