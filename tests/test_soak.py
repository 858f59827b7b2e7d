"""The short form of `make soak`: one kill at a random moment and some inside writes, each gone on with to the same bits."""
from soak import line, soak


def test_killed_runs_go_on_to_the_same_bits(tmp_path, quiet_machine):
    records = soak(6, 9, tmp_path/'soak', told=lambda *a, **k: None)
    said = line(records)
    assert all(r['killed'] and r['same'] for r in records), (said, [r for r in records if not (r['killed'] and r['same'])], (tmp_path/'soak'/'log').read_text()[-3000:])
    assert said.startswith('6 of 6 killed runs went on to the same bits (3 of them killed inside a write')
    assert soak(6, 9, tmp_path/'soak', told=None) == records  # nothing is made twice
