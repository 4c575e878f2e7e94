"""An engine is dead when it is silent or stuck, and not when we ourselves were late."""

from sirocco.service.engine_watch import EngineWatch


def watch():
    return EngineWatch(silence_s=2.5, step_timeout_s=10.0, tick_s=0.2)


def looks(dog, *, n, elapsed_s=0.2, **state):
    """Look n times; give the number of the look that found the engine dead, or None."""
    for i in range(n):
        now = {name: value(i) if callable(value) else value for name, value in state.items()}
        if dog.look(elapsed_s, **now) is not None:
            return i
    return None


def test_heartbeats_keep_an_idle_engine_alive():
    beats = {"n_heard": lambda i: i // 3, "n_steps": 0, "has_work": False}

    assert looks(watch(), n=1000, **beats) is None


def test_silence_is_noticed_in_time():
    found = looks(watch(), n=100, n_heard=1, n_steps=0, has_work=False)

    assert found is not None
    assert 2.5 < found * 0.2 <= 2.9


def test_a_step_may_take_long_while_the_heart_beats():
    beats = {"n_heard": lambda i: i, "n_steps": 7, "has_work": True}

    assert looks(watch(), n=45, **beats) is None


def test_a_step_that_never_ends_is_noticed():
    found = looks(watch(), n=100, n_heard=lambda i: i, n_steps=7, has_work=True)

    assert found is not None
    assert 10.0 < found * 0.2 <= 10.5


def test_steps_that_end_start_the_count_again():
    beats = {"n_heard": lambda i: i, "n_steps": lambda i: i // 40, "has_work": True}

    assert looks(watch(), n=1000, **beats) is None


def test_time_in_which_our_own_loop_did_not_run_is_not_the_engines():
    dog = watch()
    dog.look(0.2, n_heard=1, n_steps=0, has_work=True)

    assert dog.look(3600.0, n_heard=1, n_steps=0, has_work=True) is None
    assert dog.look(0.2, n_heard=9, n_steps=0, has_work=True) is None
