import random

from training.control.alarm import WINDOW, Alarm


def quiet(alarm: Alarm, steps: int, level: float = 2.0) -> None:
    generator = random.Random(0)
    for _ in range(steps):
        assert alarm.hear(level + generator.gauss(0, 0.1), 1.0 + generator.gauss(0, 0.05)) == []


def test_a_quiet_run_is_left_alone() -> None:
    alarm = Alarm()
    quiet(alarm, 500)
    assert not alarm.lost


def test_a_falling_loss_is_no_spike() -> None:
    alarm = Alarm()
    assert not [spike for step in range(300) for spike in alarm.hear(6 * 0.98**step + 0.01, 1.0)]


def test_a_loss_and_a_gradient_far_above_the_usual_are_told_with_what_is_usual() -> None:
    alarm = Alarm()
    quiet(alarm, 40)
    (spike,) = alarm.hear(9.0, 1.0)
    assert (spike.name, spike.value) == ("loss", 9.0)
    assert 1.8 < spike.usual < 2.2
    (spike,) = alarm.hear(2.0, 30.0)
    assert spike.name == "gradient norm"
    quiet(alarm, 40)


def test_nothing_is_told_before_there_is_a_usual() -> None:
    alarm = Alarm()
    quiet(alarm, 10)
    assert alarm.hear(100.0, 100.0) == []


def test_a_run_that_stays_above_its_start_is_lost() -> None:
    alarm = Alarm()
    quiet(alarm, 40, level=2.0)
    for _ in range(WINDOW - 1):
        alarm.hear(7.0, 1.0)
        assert not alarm.lost
    alarm.hear(7.0, 1.0)
    assert alarm.lost


def test_a_resumed_run_knows_the_level_it_began_with() -> None:
    alarm = Alarm()
    quiet(alarm, 40, level=2.0)
    resumed = Alarm(alarm.start)
    for _ in range(WINDOW):
        resumed.hear(7.0, 1.0)
    assert resumed.lost


def test_a_run_that_comes_back_is_not() -> None:
    alarm = Alarm()
    quiet(alarm, 40, level=2.0)
    for step in range(3 * WINDOW):
        alarm.hear(2.0 if step % WINDOW == 5 else 7.0, 1.0)
        assert not alarm.lost
