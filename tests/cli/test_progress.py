"""How far streams have come, as text."""

from itnio_voice import Progress
from itnio_voice.cli.progress import summed_up


def test_one_stream() -> None:
    """Records read and expected, their rate, the time left and the windows."""
    assert (500, 2000, "500/2,000 250/s 0:00:06 left window 1/4") == summed_up([Progress(1, 4, 500, 2000)], 2.0)


def test_several_streams() -> None:
    """Several streams are one sum; what one of them does not know is not known."""
    known, unknown = Progress(1, 2, 10, 20), Progress(0, 0, 0, None)

    assert (20, 40, "20/40 10/s 0:00:02 left window 2/4") == summed_up([known, known], 2.0)
    assert (10, None, "10 5/s window 1/2") == summed_up([known, unknown], 2.0)


def test_at_the_beginning_and_the_end() -> None:
    """Nothing is divided by nothing, and there is never more read than expected."""
    assert (0, None, "0 0/s window 0/0") == summed_up([Progress(0, 0, 0, None)], 0.0)
    assert (30, 30, "30/30 30/s 0:00:00 left window 3/3") == summed_up([Progress(3, 3, 30, 25)], 1.0)


def test_what_an_earlier_run_has_read() -> None:
    """A resumed export starts at the records that it has, and its rate is that of this run."""
    assert (600, 2100, "600/2,100 250/s 0:00:06 left window 1/4") == summed_up(
        [Progress(1, 4, 500, 2000)], 2.0, before=100
    )
    assert (100, None, "100 0/s window 0/0") == summed_up([Progress(0, 0, 0, None)], 1.0, before=100)
