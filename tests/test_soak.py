"""The short form of `make soak`: one kill at a random moment and some inside writes, each gone on with to the same bits."""
import signal

import pytest
from tqdm.std import tqdm

from commands import begun
from soak import line, soak


@pytest.mark.long
def test_killed_runs_go_on_to_the_same_bits(tmp_path, quiet_machine):
    records = soak(6, 9, tmp_path/'soak', told=lambda *a, **k: None)
    said = line(records)
    assert all(r['killed'] and r['same'] for r in records), (said, [r for r in records if not (r['killed'] and r['same'])], (tmp_path/'soak'/'log').read_text()[-3000:])
    assert said.startswith('6 of 6 killed runs went on to the same bits (3 of them killed inside a write')
    assert soak(6, 9, tmp_path/'soak', told=None) == records  # nothing is made twice


def test_who_is_killed_with_a_lock_keeps_nobody_waiting(tmp_path):
    "As CI once did, for 80 minutes: the lock of a bar is one for all forks of a process."
    tqdm.get_lock()
    def dies():
        tqdm.get_lock().acquire()
        signal.raise_signal(signal.SIGKILL)
    def goes_on():
        with tqdm(total=1, disable=True): pass
    for work, code in ((dies, -signal.SIGKILL), (goes_on, 0)): assert begun(work)().returncode == code
