"""How many tokens a step may have."""

from sirocco.engine.scheduling.pace import Pace


def learnt(pace, tokens_per_s, n_steps=30):
    for _ in range(n_steps):
        pace.learn(pace.n_tokens, pace.n_tokens / tokens_per_s)
    return pace.n_tokens


def test_a_fast_machine_gets_whole_steps():
    assert learnt(Pace(0.5, 512), tokens_per_s=50_000) == 512


def test_a_slow_machine_gets_steps_of_the_target_time():
    assert learnt(Pace(0.5, 512), tokens_per_s=400) == 200


def test_a_very_slow_machine_gets_the_fewest_tokens_that_are_worth_a_step():
    assert learnt(Pace(0.5, 512), tokens_per_s=10) == 64


def test_the_first_step_is_small_since_nothing_is_known():
    assert Pace(0.5, 512).n_tokens == 64
    assert Pace(0.5, 16).n_tokens == 16


def test_steps_of_few_tokens_tell_nothing():
    pace = Pace(0.5, 512)
    learnt(pace, tokens_per_s=400)

    for _ in range(100):
        pace.learn(1, 0.1)

    assert pace.n_tokens == 200


def test_one_slow_step_among_fast_ones_changes_little():
    pace = Pace(0.5, 512)
    learnt(pace, tokens_per_s=5000)

    pace.learn(512, 5.0)

    assert pace.n_tokens == 512
