import os
import signal
import subprocess
import sys

from service import lifeline
from service.settings import LIFELINE_FD

CHILD = """
import os, signal, sys
from service import lifeline
signal.signal(signal.SIGTERM, lambda *_: (print("told to end", flush=True), sys.exit(0)))
lifeline.hold(os.environ)
print("holding", flush=True)
while True:
    signal.pause()
"""


def test_a_child_ends_when_the_pipe_closes():
    read, write = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        env=os.environ | {LIFELINE_FD: str(read)},
        pass_fds=(read,),
        stdout=subprocess.PIPE,
    )
    os.close(read)
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"holding\n"
        assert child.poll() is None
        os.close(write)
        assert child.stdout.readline() == b"told to end\n"
        assert child.wait(10) == 0


def test_a_child_that_will_not_end_is_ended():
    deaf = CHILD.replace("(print(", "None and (print(").replace(
        "lifeline.hold", "lifeline.LAST_RESORT_S = 0.05; lifeline.hold"
    )
    read, write = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", deaf],
        env=os.environ | {LIFELINE_FD: str(read)},
        pass_fds=(read,),
        stdout=subprocess.PIPE,
    )
    os.close(read)
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"holding\n"
        os.close(write)
        assert child.wait(10) == 1


def test_without_a_pipe_nothing_is_watched():
    before = signal.getsignal(signal.SIGTERM)
    lifeline.hold({})
    assert signal.getsignal(signal.SIGTERM) is before
