"""Progress bars: the time left follows from the cost of the steps that are left. Text for any encoding."""

import os
import subprocess
import sys

import pytest

from phototransfer.console import progress, progress_by_cost, skip_steps

SECONDS = 1000.0  # so long that a pause of the machine does not matter


def seconds_left(bar) -> float:
    *larger, seconds = str(bar).split("<")[1].split("]")[0].split(":")
    units = [60, 3600]
    return float(seconds) + sum(int(text) * unit for text, unit in zip(reversed(larger), units, strict=False))


@pytest.mark.parametrize(("costs", "left"), [([1, 1, 8], 4 * SECONDS), ([8, 8, 1, 1, 2], 0.25 * SECONDS)])
@pytest.mark.parametrize("unit_of_cost", [0.01, 1, 300])
def test_the_time_left_is_that_of_the_costs_left_at_the_rate_so_far(costs, left, unit_of_cost):
    with progress_by_cost("Heads", [cost * unit_of_cost for cost in costs], unit="training") as bar:
        bar.update()
        bar.update()
        bar.start_t -= SECONDS
        assert seconds_left(bar) == pytest.approx(left, rel=0.02)
        assert f"2/{len(costs)} training" in str(bar)
        assert f"{100 * SECONDS / (SECONDS + left):3.0f}%" in str(bar)


def test_steps_that_cost_nothing_count_and_a_bar_without_steps_shows_nothing(capsys):
    with progress_by_cost("Heads", [0.0, 0.0, 2.0], unit="training") as bar:
        bar.update(2)
        assert "0%" in str(bar) and "2/3 training" in str(bar)
        bar.update()
    assert "100%" in capsys.readouterr().out
    with progress_by_cost("Heads", [], unit="training"):
        pass
    assert capsys.readouterr().out == ""


def test_steps_whose_results_were_known_do_not_change_the_time_of_the_others():
    by_cost = progress_by_cost("Heads", [6, 6, 2, 2], unit="training")
    by_count = progress("Heads", 4, unit="training")
    for bar in (by_cost, by_count):
        with bar:
            skip_steps(bar, 2)
            bar.update()
            bar.start_t -= SECONDS
            assert seconds_left(bar) == pytest.approx(SECONDS, rel=0.02)
            assert "3/4 training" in str(bar)
            bar.update()
            assert "4/4 training" in str(bar)


def test_text_that_the_encoding_of_a_pipe_lacks_is_printed_all_the_same():
    code = "from phototransfer.console import allow_any_text; allow_any_text(); print('caf\\xe9 \\u2192 \\u2500')"
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}  # as in a pipe on Windows
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert done.stdout.decode("cp1252").strip() == "caf\xe9 \\u2192 \\u2500"
