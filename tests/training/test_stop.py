"""Signals are noted, a second one is final, and the old handlers come back."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from segexp.training.stop import Stopped, StopRequest


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_is_noted_and_the_next_one_is_for_the_operating_system(name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    request = StopRequest()
    with request.listening():
        os.kill(os.getpid(), number)
        assert request.number == number
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(number) == before
    assert str(Stopped(number)) == f"stopped by {name}"


def test_a_run_in_a_thread_hears_no_signals_and_leaves_the_handlers_alone():
    def listen():
        with StopRequest().listening() as request:
            return request.number, signal.getsignal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(listen).result() == (0, before)


def test_a_second_ctrl_c_ends_a_process_that_hangs():
    code = (
        "import time\nfrom segexp.training.stop import StopRequest\n"
        "with StopRequest().listening():\n    print('ready', flush=True)\n    time.sleep(60)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == -signal.SIGINT
    process.stdout.close()
