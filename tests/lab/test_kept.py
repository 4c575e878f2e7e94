import pytest

from sirocco.errors import ConfigError
from sirocco.lab.kept import Kept
from sirocco.lab.study import Work


def test_a_part_is_done_once_and_then_read(tmp_path):
    done = []

    def do():
        done.append(1)
        return {"loss": 0.1 + 0.2, "curve": (1.5, 2.0)}

    first = Kept(tmp_path, {"steps": 3}).part("One", do)
    again = Kept(tmp_path, {"steps": 3}).part("One", do)

    assert first == again == {"loss": 0.1 + 0.2, "curve": [1.5, 2.0]}
    assert done == [1]


def test_a_part_that_is_there_counts_its_steps(tmp_path):
    kept, steps = Kept(tmp_path, {}), []

    for _ in range(2):
        kept.part("one", dict, n_steps=3, on_step=lambda: steps.append(1))

    assert len(steps) == 3  # the first time it is the part's own business


def test_a_part_that_was_broken_off_is_done_again(tmp_path):
    kept = Kept(tmp_path, {})

    def broken_off():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept.part("one", broken_off)

    assert kept.part("one", lambda: {"loss": 1.0}) == {"loss": 1.0}


def test_the_seconds_of_parts_add_up(tmp_path):
    kept = Kept(tmp_path, {})
    assert kept.seconds() == (0, 0)

    kept.part("one", dict)
    one = kept.seconds()
    kept.part("two", dict)

    assert 0 < one[0] < kept.seconds()[0]


def test_other_settings_are_refused_and_nothing_is_lost(tmp_path):
    Kept(tmp_path, {"steps": 3, "contexts": (1, 2)}).part("one", lambda: {"loss": 1.0})

    with pytest.raises(ConfigError, match="other settings; delete it"):
        Kept(tmp_path, {"steps": 4, "contexts": (1, 2)})

    kept = Kept(tmp_path, {"steps": 3, "contexts": (1, 2)})
    assert kept.part("one", dict) == {"loss": 1.0}


def test_a_study_in_two_halves_and_broken_off_is_the_study_in_one(study, tiny, tmp_path):
    def tell(what, n_steps):
        n_left = [25 if what == "training" and is_cut_short else 10_000]

        def on_step():
            n_left[0] -= 1
            if n_left[0] < 0:
                raise KeyboardInterrupt

        return on_step

    is_cut_short = True
    with pytest.raises(KeyboardInterrupt):
        Work(tiny, tmp_path, steps=3, tell=tell).train()
    is_cut_short = False
    Work(tiny, tmp_path, steps=3, tell=tell).train()
    timed = Work(tiny, tmp_path, steps=3, tell=tell).measure()
    whole = Work(tiny, tmp_path, steps=3, tell=tell).study()

    assert whole.trained == study.trained
    assert whole.conversion == study.conversion
    assert whole.window.by_position == study.window.by_position
    assert whole.comparison == timed.comparison
    assert whole.machine == timed.machine
