"""Where threads are."""

from __future__ import annotations

import subprocess
import sys
import threading

from celery.utils.frames import frames_of_threads

FINALIZERS = """
import gc, os, sys, threading, time
from celery.utils.frames import frames_of_threads

class Curious:
    def __del__(self):
        sys._current_frames()

def wander():
    while True:
        (lambda: time.sleep(0.0005))()

for _ in range(8):
    threading.Thread(target=wander, daemon=True).start()
gc.collect()
gc.freeze()
gc.set_threshold(1)
gc.disable()
for _ in range(300):
    for _ in range(5):
        one = Curious()
        one.me = one
    one = None
    time.sleep(0.001)
    gc.enable()
    frames_of_threads()
    assert gc.isenabled()
    gc.disable()
print("through", flush=True)
os._exit(0)
"""


def test_the_frame_of_each_thread() -> None:
    assert frames_of_threads()[threading.get_ident()].f_code.co_name == "frames_of_threads"


def test_garbage_that_is_collected_meanwhile_stops_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FINALIZERS], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "through", done.stderr
