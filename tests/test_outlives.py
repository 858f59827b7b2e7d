"""A run outlives its terminal and its log: a pipe that nobody reads, a full disk behind stderr, a terminal that is closed."""
import errno, io, json, os, pty, signal, subprocess, sys, time
from contextlib import contextmanager

import pytest

from commands import as_undisturbed, degas, forked, pictures, process, search_argv, signalled, state, trace, train_argv
from degas_nb.app.main import main
from degas_nb.app.studies import STUDIES
from degas_nb.ground.folders import Trace
from degas_nb.ground.studies import Job, Study, table
from warm import CLOSED, Python, python

pytestmark = pytest.mark.usefixtures('quiet_machine')


@contextmanager
def gone(which):
    "A stream as a shell may give it: `>/dev/full`, `>&-`, `> >(true)`."
    if which == 'closed': yield CLOSED
    elif which == 'full':
        with open('/dev/full', 'w') as f: yield f
    else:
        nobody, end = os.pipe()
        os.close(nobody)
        with os.fdopen(end, 'w') as f: yield f


@pytest.mark.long
@pytest.mark.parametrize('which', ['full', 'closed'])
def test_a_run_outlives_stderr(which, found, tmp_path):
    out = tmp_path/'run'
    with gone(which) as stderr: done = process(*search_argv(out), stderr=stderr)
    assert done.returncode == 0 and done.stdout.startswith('s1 = ') and 'epoch' not in done.stdout
    as_undisturbed(out, found)


@pytest.mark.long
def test_a_run_outlives_the_reader_of_its_log(found, tmp_path):
    out = tmp_path/'run'
    with subprocess.Popen(['head', '-1'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as head:
        done = process(*search_argv(out), stdout=head.stdin, stderr=head.stdin)
        said = head.communicate()[0]
    assert done.returncode == 0 and len(said.splitlines()) == 1
    as_undisturbed(out, found)


class Broken(io.StringIO):
    "Takes some characters, then fails as the system does."
    def __init__(self, code, room): super().__init__(); self.code, self.room = code, room
    def write(self, text):
        if self.tell() + len(text) > self.room: raise OSError(self.code, os.strerror(self.code))
        return super().write(text)


@pytest.mark.parametrize('code', [errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EBADF])
@pytest.mark.parametrize('room', [0, 40, 300])
def test_whatever_happens_to_a_stream_the_run_goes_on(code, room, tmp_path, monkeypatch):
    for name in 'stdout', 'stderr': monkeypatch.setattr(sys, name, Broken(code, room))
    assert degas(*train_argv(tmp_path/'run', '--sample-every', 1)) == 0  # a training prints nothing
    assert len(trace(tmp_path/'run')) == 6 and (tmp_path/'run'/'report.html').exists()


@pytest.mark.parametrize('argv', [['--help'], ['--version'], ['draw', 'cifar10_paper', '--out', 'X/x.svg'], ['score', 'X/a', 'X/b', '--n', '20', '--features', 'X/classes']])
@pytest.mark.parametrize('which', ['full', 'closed', 'nobody'])
def test_the_last_word_into_a_closed_stdout_is_no_traceback(argv, which, tmp_path):
    if 'score' in argv: [pictures(tmp_path/name, 24) for name in ('a', 'b', 'classes/one', 'classes/two')]
    with gone(which) as stdout: done = process(*[a.replace('X', str(tmp_path)) for a in argv], stdout=stdout)
    assert 'Traceback' not in done.stderr and 'Exception ignored' not in done.stderr
    if which == 'full': assert done.returncode == 1 and 'No space left' in done.stderr.splitlines()[-1]
    else: assert done.returncode == 0


@pytest.mark.long
def test_a_score_is_kept_before_it_is_printed(tmp_path):
    run = tmp_path/'run'
    assert degas(*train_argv(run)) == 0
    with gone('full') as stdout: done = process('score', run, '--n', 20, stdout=stdout)
    assert done.returncode == 1 and len(json.loads((run/'scores.json').read_text())) == 1


def test_a_file_never_gets_the_number_of_a_closed_stream(tmp_path):
    "Where stderr is closed, the next file that is opened would be file 2, and what a library complains about would end in it."
    code = "import os, sys; sys.path.insert(0, 'tests')\nfrom degas_nb.app.main import manners\nwith manners():\n  with open(sys.argv[1], 'wb') as f: f.write(str(f.fileno()).encode())"
    assert python('-c', code, tmp_path/'x', stdin=CLOSED, stdout=CLOSED, stderr=CLOSED).returncode == 0
    assert int((tmp_path/'x').read_text()) > 2


# ---------------------------------------------------------------- terminals

@pytest.mark.skipif(not hasattr(signal, 'SIGHUP'), reason='a signal that Windows does not have')
class TestHangUp:
    def test_a_closed_terminal_saves_and_ends(self, found, tmp_path):
        out = tmp_path/'run'
        stopped = signalled(5, [signal.SIGHUP], *search_argv(out))
        assert stopped.returncode == 128 + signal.SIGHUP and 'Traceback' not in stopped.stderr and not stopped.stdout
        assert state(out)['step'] == 5
        assert degas('search', '--resume', '--out', out) == 0
        as_undisturbed(out, found)

    @pytest.mark.parametrize('signals', [[signal.SIGHUP]*3, [signal.SIGHUP, signal.SIGTERM], [signal.SIGTERM, signal.SIGHUP]])
    def test_a_terminal_may_say_so_several_times(self, signals, tmp_path):
        out = tmp_path/'run'
        stopped = signalled(3, signals, *train_argv(out))
        assert stopped.returncode == 128 + signals[0] and state(out)['step'] == 3

    def test_nohup_is_respected(self, found, tmp_path):
        out = tmp_path/'run'
        def ignoring(*argv):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            try: return signalled(*argv)
            finally: signal.signal(signal.SIGHUP, signal.SIG_DFL)
        done = ignoring(4, [signal.SIGHUP], *search_argv(out))
        assert done.returncode == 0, done.stderr
        as_undisturbed(out, found)

    @pytest.mark.parametrize('nohup', [False, True])
    def test_a_real_terminal_that_is_closed(self, nohup, found, tmp_path):
        "The kernel hangs up; what is written from then on gives EIO."
        out = tmp_path/'run'
        ours, theirs = pty.openpty()
        run = Python('-m', 'degas_nb.app.main', *search_argv(out, epochs=60 if not nohup else 4), streams=[theirs]*3, terminal=True, ignored=[signal.SIGHUP]*nohup)
        os.close(theirs)
        end = time.monotonic() + 60
        while not (out/'trace.jsonl').exists() and time.monotonic() < end: time.sleep(.02); os.set_blocking(ours, False); drained(ours)
        os.close(ours)
        assert run.wait(60) == (0 if nohup else 128 + signal.SIGHUP)
        if nohup: as_undisturbed(out, found)
        else: assert state(out)['step'] == len(trace(out)) > 0


def drained(fd):
    "What a terminal would have shown."
    try: return os.read(fd, 65536)
    except OSError: return b''

# ---------------------------------------------------------------- studies, whose runs have processes of their own

def talking(tmp_path, monkeypatch, seconds=0.):
    "A study whose runs say something and take a while; what `degas` is told to make them."
    jobs = tuple(Job(f'talk/{i}', 'study_work:talk', dict(n=i, seconds=seconds)) for i in range(3))
    monkeypatch.setitem(STUDIES, 'talking', lambda: Study('talking', 'Who listens?', jobs, lambda records: table(records, lambda r: r['key'])))
    return ['study', 'talking', '--workers', '1', '--out', str(tmp_path)], lambda: [json.loads(row) for row in (tmp_path/'talking'/'records.jsonl').read_text().splitlines()]


@pytest.mark.long
@pytest.mark.parametrize('which', ['full', 'closed'])
def test_a_study_outlives_its_log(which, tmp_path, monkeypatch):
    argv, records = talking(tmp_path, monkeypatch)
    def work():
        for fd in 1, 2: os.close(fd) if which == 'closed' else os.dup2(os.open('/dev/full', os.O_WRONLY), fd)
        if which == 'closed': sys.stdout = sys.stderr = None   # as Python begins where a shell has closed them
        try: main(argv)
        finally: sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    code = forked(work).returncode
    assert code == (1 if which == 'full' else 0) and [r['result'] for r in records()] == [dict(n=i) for i in range(3)]


@pytest.mark.long
@pytest.mark.skipif(not hasattr(signal, 'SIGHUP'), reason='a signal that Windows does not have')
def test_a_terminal_that_closes_under_a_study_fails_no_run(tmp_path, monkeypatch):
    "It tells everybody, the processes of the runs too."
    argv, records = talking(tmp_path, monkeypatch, .3)
    def work():
        os.setsid()
        append = Trace.append
        def hanging_up(self, record):
            append(self, record)
            os.killpg(0, signal.SIGHUP)
        Trace.append = hanging_up
        main(argv)
    done = forked(work)
    assert done.returncode == 128 + signal.SIGHUP and 'Traceback' not in done.stderr and 'stopped with 2 runs to make' in done.stderr
    assert [r['result'] for r in records()] == [dict(n=0)]
