"""Lines in the log while a checkpoint is loaded."""

from sirocco.engine.process.progress import LoadingProgress


def lines_of(seconds_a_step, n_steps=10):
    now_s = 50.0
    lines: list[dict[str, float]] = []
    progress = LoadingProgress(
        lambda words, **numbers: lines.append(numbers), every_s=2.0, clock=lambda: now_s
    )
    now_s += 60.0  # for what comes before the first weights
    for step in range(n_steps + 1):
        now_s += seconds_a_step
        progress(step * 2**30, n_steps * 2**30)
    return lines


def test_a_slow_load_says_how_far_it_is_every_two_seconds():
    lines = lines_of(1.0)

    assert [line["percent"] for line in lines] == [20, 40, 60, 80, 100]
    assert lines[0] == {"percent": 20, "gib": 2.0, "gib_per_s": 1.0}


def test_a_quick_load_says_nothing():
    assert lines_of(0.1) == []
