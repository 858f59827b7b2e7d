"""`degas study`: killed, stopped and gone on with, equal records; what fails is said; one process at a time; the same on a Ray cluster."""
import importlib.util, json, os, random, re, signal, subprocess, sys, time, zipfile
from dataclasses import replace
from contextlib import suppress
from pathlib import Path

import pytest

from commands import degas, forked
from degas_nb.app.main import main
from degas_nb.app.studies import STUDIES
from degas_nb.app.tables import generator_of_size
from degas_nb.ground.errors import UserError
from degas_nb.ground.folders import Trace
from degas_nb.ground.show import in_markdown
from degas_nb.ground.studies import Job, Study, StudyFolder, _Lanes, own_seconds, read_records, run_study, study_page, table
from degas_nb.space.choices import network
from degas_nb.space.generator import n_params
from toys import until
from warm import python

HERE = Path(__file__).parent
ODD = ('raises', 'leaves', 'is killed', 'is not plain', 'is a list')
ENDINGS = {'seconds', 'cpu', 'commit'}  # of a record: what may differ between two runs of a study


def page(records): return table(records, lambda r: r['key'].partition('/')[0], runs_that_ended=len)


def study(jobs, folder): return Study('squares', 'What is x times x?', tuple(jobs), page, given=dict(folder=str(folder)))


def squares(n): return [Job(f'{"even" if x % 2 == 0 else "odd"}/{x}', 'study_work:square', dict(x=x, seed=(0, x))) for x in range(n)]


@pytest.fixture
def use(monkeypatch, tmp_path):
    "Let `degas study squares` be a study of these jobs."
    def put(jobs):
        made = study(jobs, tmp_path)
        monkeypatch.setitem(STUDIES, 'squares', lambda: made)
        return made
    return put


def lines(out): return [json.loads(line) for line in (out/'squares'/'records.jsonl').read_text().splitlines()]
def plain(records): return [{k: v for k, v in r.items() if k not in ENDINGS} for r in records]
def began(folder): return (folder/'began').read_text().split()


def alive(pid):
    try: return 'Z' not in Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except FileNotFoundError: return False


def at_record(n, sent, *argv):
    "`degas`, hit by a signal right behind its n-th record."
    append, seen = Trace.append, []
    def append_and_signal(self, record):
        append(self, record)
        seen.append(record)
        if len(seen) == n: signal.raise_signal(sent)
    def work():
        Trace.append = append_and_signal
        main([*map(str, argv)])
    return forked(work)


@pytest.mark.long
def test_killed_and_gone_on_with(use, tmp_path, capfd):
    made = use(squares(6))
    whole, broken = tmp_path/'whole', tmp_path/'broken'
    assert degas('study', 'squares', '--out', whole) == 0
    said = capfd.readouterr()
    assert '6 of 6 runs finished, 0 failed' in said.out and '| all | 6 | 6 | 0 | 0 |' in said.err
    records = read_records(made, whole/'squares')
    assert [r['key'] for r in records] == [job.key for job in made.jobs]  # in the declared order, however they ended
    assert records[3]['result'] == dict(square=9, seed=[0, 3], loss=None)  # JSON has no NaN
    assert set(records[0]) == {'key', 'work', 'args', 'seconds', 'cpu', 'commit', 'version', 'hardware', 'result'} and 'folder' not in str(records[0])

    (tmp_path/'began').unlink()
    assert at_record(3, signal.SIGKILL, 'study', 'squares', '--out', broken, '--workers', 1).returncode == -signal.SIGKILL
    assert began(tmp_path)[:3] == ['0', '1', '2'] and len(lines(broken)) == 3
    with open(broken/'squares'/'records.jsonl', 'a') as f: f.write('{"key": "odd/3", "wo')  # what a kill may leave
    assert len(read_records(made, broken/'squares')) == 3
    (tmp_path/'began').unlink()
    assert degas('study', 'squares', '--out', broken) == 0
    assert sorted(began(tmp_path)) == ['3', '4', '5']  # nothing that had ended was made again
    assert plain(read_records(made, broken/'squares')) == plain(records)
    assert sorted(r['key'] for r in lines(broken)) == sorted(job.key for job in made.jobs)
    assert (broken/'squares'/'README.md').read_text() == (whole/'squares'/'README.md').read_text()

    (tmp_path/'began').unlink()
    capfd.readouterr()
    assert degas('study', 'squares', '--out', whole, '--again') == 0 and not (tmp_path/'began').exists()  # there is nothing to do
    shuffled = (whole/'squares'/'records.jsonl').read_text().splitlines()
    random.Random(0).shuffle(shuffled)
    (whole/'squares'/'records.jsonl').write_text('\n'.join(shuffled) + '\n')
    capfd.readouterr()
    assert degas('study', 'squares', '--out', whole, '--tables') == 0
    *_, tables = capfd.readouterr().out.partition('| even')
    assert tables and tables in (broken/'squares'/'README.md').read_text()


@pytest.mark.long
@pytest.mark.parametrize('sent', [signal.SIGINT, signal.SIGTERM])
def test_stopped(sent, use, tmp_path):
    "What runs is ended, what has ended is on disk, and the last line says how to go on."
    made = use([*squares(1), Job('long', 'study_work:sleep', dict(seconds=600)), *squares(4)[1:]])
    begin = time.monotonic()
    done = at_record(3, sent, 'study', 'squares', '--out', tmp_path, '--workers', 2)  # while one sleeps
    assert done.returncode == 128 + sent and time.monotonic() - begin < 90
    last = done.stderr.strip().splitlines()[-1]
    assert 'stopped with' in last and f'degas study squares --out {tmp_path}' in last and 'Traceback' not in done.stderr
    assert {'even/0', 'odd/1', 'even/2'} <= {r['key'] for r in lines(tmp_path)} and 'long' not in {r['key'] for r in lines(tmp_path)}
    until(lambda: not (tmp_path/'pid').exists() or not alive((tmp_path/'pid').read_text()))  # or it had not begun
    assert 'runs finished' in (tmp_path/'squares'/'README.md').read_text() and not StudyFolder(tmp_path/'squares').busy()
    assert len(read_records(made, tmp_path/'squares')) == len(lines(tmp_path))


@pytest.mark.long
def test_who_is_killed_leaves_no_process_behind(use, tmp_path):
    use([Job('long', 'study_work:sleep', dict(seconds=600)), *squares(1)])
    assert at_record(1, signal.SIGKILL, 'study', 'squares', '--out', tmp_path).returncode == -signal.SIGKILL
    until(lambda: not (tmp_path/'pid').exists() or not alive((tmp_path/'pid').read_text()))
    assert not StudyFolder(tmp_path/'squares').busy()


@pytest.mark.long
def test_who_leaves_the_loop_and_ends_waits_for_no_run(tmp_path):
    "The loop is neither closed nor forgotten: its process is ended with this one."
    code = f"""
from test_study import *
made = study([*squares(1), Job('long', 'study_work:sleep', dict(seconds=600))], {str(tmp_path)!r})
records = run_study(made, {str(tmp_path/'out')!r}, workers=2)
print(next(records)['key'])
while not Path({str(tmp_path/'pid')!r}).exists(): time.sleep(.01)
"""
    begin = time.monotonic()
    done = python('-c', code, env=os.environ | dict(PYTHONPATH=os.pathsep.join([str(HERE), str(HERE.parent)])))
    assert (done.returncode, done.stdout) == (0, 'even/0\n') and time.monotonic() - begin < 60, done.stderr
    until(lambda: not alive((tmp_path/'pid').read_text()))


@pytest.mark.long
def test_a_lane_goes_on_where_its_process_is_gone():
    "Killed while it has nothing to do: nobody notices. Killed in a run: that run has no outcome, and the next one gets another process."
    lanes, job = _Lanes(1), Job('a', 'math:factorial', {})
    def outcome():
        lanes.start(Job('a', 'degas_nb.app.studies:throw', dict(throws=2, seed=1)), {})
        return next(record for _ in range(600) for _, record in lanes.ended(.1))
    try:
        first = outcome()
        lane, = lanes.free
        os.kill(lane.process.pid, signal.SIGKILL)
        lane.process.join()
        assert outcome()['result'] == first['result'] and 'died' not in first
        lanes.start(Job('b', 'time:sleep', dict()), {})   # which takes no keyword: an error, and the process lives
        assert 'TypeError' in next(record for _ in range(600) for _, record in lanes.ended(.1))['error']
        os.kill(lane.process.pid, signal.SIGSTOP)
        lanes.start(job, {})
        os.kill(lane.process.pid, signal.SIGKILL)
        assert next(record for _ in range(600) for _, record in lanes.ended(.1))['died']
        assert outcome()['result'] == first['result']
    finally: lanes.close()


def test_a_lane_that_cannot_begin_leaves_nothing(monkeypatch):
    "The error is the system's, or the person's; no process waits for ever, and nothing of the environment is left changed."
    import multiprocessing.context
    for what in (OSError('no more processes'), KeyboardInterrupt()):
        lanes, before = _Lanes(2), dict(os.environ)
        def start(self): raise what
        monkeypatch.setattr(multiprocessing.context.SpawnProcess, 'start', start)
        with pytest.raises(type(what)): lanes.start(Job('a', 'math:factorial', {}), {})
        lanes.close()
        assert dict(os.environ) == before
        monkeypatch.undo()


@pytest.mark.long
def test_failed_runs_are_said_and_not_left_out(use, tmp_path, capfd):
    made = use([*(Job(f'bad/{how}', 'study_work:odd', dict(how=how)) for how in ODD), Job('lost/1', 'study_work:nothing'), Job('lost/2', 'no_module:f'), *squares(2)])
    assert degas('study', 'squares', '--out', tmp_path) == 1
    said = capfd.readouterr()
    records = {r['key']: r for r in read_records(made, tmp_path/'squares')}
    assert len(records) == len(made.jobs) and all('result' in records[job.key] for job in squares(2))
    errors = {key: r['error'] for key, r in records.items() if 'error' in r}
    assert errors['bad/raises'] == 'ValueError: two lines' and 'killed' in errors['bad/is killed'] and len(errors) == 7
    assert 'ModuleNotFoundError' in errors['lost/2'] and 'AttributeError' in errors['lost/1'] and 'list' in errors['bad/is a list']
    for key, error in errors.items(): assert said.err.count(f'failed: {key}: {error}') == 1 and f'failed: {in_markdown(key)}: {in_markdown(error)}' in said.out
    assert '2 of 9 runs finished, 7 failed, 0 not made yet' in said.out and '| bad | 5 | 5 |  |' in said.out and '| all | 9 | 2 | 7 | 0 |' in said.err
    assert 'Traceback' in (tmp_path/'squares'/'errors.log').read_text() and 'Traceback' not in said.err + said.out

    (tmp_path/'mended').touch()
    before = lines(tmp_path)
    assert degas('study', 'squares', '--out', tmp_path) == 1 and lines(tmp_path) == before  # not again by itself
    assert degas('study', 'squares', '--out', tmp_path, '--again', '--only', 'bad') == 1  # the lost ones were not asked for
    assert '7 of 9 runs finished, 2 failed' in capfd.readouterr().out and len(lines(tmp_path)) == len(before) + 5


@pytest.mark.long
def test_a_run_has_one_thread(tmp_path, capfd, monkeypatch):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    done, = run_study(study([Job('a', 'study_work:threads')], tmp_path), tmp_path/'out')
    assert done['result'] == dict(torch=1, openmp='1', nice=os.nice(0), interrupt=True) and 'OMP_NUM_THREADS' not in os.environ
    said = capfd.readouterr()
    assert 'prints' in said.err and not said.out


def recorded(folder, jobs, **end):
    "Records without runs."
    folder.mkdir(parents=True)
    rows = [dict(key=job.key, work=job.work, args=job.args, seconds=1., cpu=1., commit='abc', version='0') | (end or dict(result=dict(x=1))) for job in jobs]
    (folder/'records.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))


def test_a_finished_run_with_other_arguments_stops_everything(use, tmp_path, line):
    jobs = squares(3)
    recorded(tmp_path/'squares', jobs)
    use([*jobs[:2], replace(jobs[2], args=dict(x=2, seed=7))])
    for more in ([], ['--again'], ['--tables'], ['--only', 'odd']):
        says = line('study', 'squares', '--out', tmp_path, *more)
        assert "'even/2'" in says and 'seed [0, 2], now 7' in says and 'another key' in says
    recorded(tmp_path/'failed'/'squares', jobs, error='lost')
    assert len(read_records(STUDIES['squares'](), tmp_path/'failed'/'squares')) == 3  # nothing was measured with other arguments


@pytest.mark.parametrize('wrong', ['{"key": "odd/1"', '[]', '{"key": 1}', '{"key": "odd/1", "work": "", "args": {}, "seconds": 1, "result": 3}', '\x00'])
def test_a_damaged_line_is_named(wrong, use, tmp_path, line):
    use(squares(4))
    recorded(tmp_path/'squares', squares(3))
    file = tmp_path/'squares'/'records.jsonl'
    rows = file.read_text().splitlines()
    rows[1] = wrong
    file.write_text('\n'.join(rows) + '\n')
    says = line('study', 'squares', '--out', tmp_path)
    assert f'line 2 of {file}' in says and 'delete the line' in says and file.read_text().splitlines() == rows


@pytest.mark.long
def test_one_process_at_a_time(use, tmp_path, line, capsys):
    use(squares(2))
    recorded(tmp_path/'squares', squares(1))
    with StudyFolder(tmp_path/'squares').lock():
        assert 'another process is working in' in line('study', 'squares', '--out', tmp_path)
        assert degas('study', 'squares', '--out', tmp_path, '--tables') == 0  # who only reads may
        capsys.readouterr()
        assert degas('study', '--out', tmp_path) == 0
        row, = re.findall(r'^\| squares .*$', capsys.readouterr().out, re.M)
    assert row.startswith('| squares | 2 | 1 | 0 |') and 'runs now' in row


def test_no_run_begins_when_time_is_up(use, tmp_path, capfd):
    made = use(squares(3))
    recorded(tmp_path/'squares', squares(1))
    assert degas('study', 'squares', '--out', tmp_path, '--minutes', 0) == 0
    assert 'time is up with 2 runs to make; go on with: degas study squares' in capfd.readouterr().err
    assert len(read_records(made, tmp_path/'squares')) == 1


def test_what_a_person_gets_wrong(use, tmp_path, line):
    use(squares(2))
    assert 'there are toy' in line('study', 'nothing', '--out', tmp_path)
    assert 'even, odd' in line('study', 'squares', '--only', 'x', '--out', tmp_path)
    assert '--data' in line('study', 'squares', '--data', 'emoji', '--out', tmp_path)
    assert '--workers' in line('study', 'squares', '--workers', 0, '--out', tmp_path)
    assert 'holds no records' in line('study', 'squares', '--tables', '--out', tmp_path)
    (tmp_path/'file').touch()
    assert 'cannot make the folder' in line('study', 'squares', '--out', tmp_path/'file')


# ---------------------------------------------------------------- Ray

needs_ray = pytest.mark.skipif(importlib.util.find_spec('ray') is None, reason="ray is not installed: pip install 'degas_nb[cluster]'")


def ended_head(head):
    "A Ray that a test has started ends; it gives its runs half a minute by itself."
    head.terminate()
    try: head.wait(120)
    except subprocess.TimeoutExpired: head.kill()


@pytest.fixture(scope='module')
def cluster(tmp_path_factory):
    "The address of a Ray that runs on this machine, with two processors. Its raylet gives its helpers 15 seconds to begin and aborts: on a busy machine it is started again."
    command = [Path(sys.executable).parent/'ray', 'start', '--head', '--num-cpus=2', '--port=0', '--include-dashboard=false', '--disable-usage-stats', '--block']
    where = os.environ | dict(PYTHONPATH=os.pathsep.join([str(HERE), str(HERE.parent)]))
    for _ in range(4):
        out = tmp_path_factory.mktemp('ray')/'out'
        with open(out, 'w') as f: head = subprocess.Popen(command, stdout=f, stderr=f, env=where)
        try:
            with suppress(AssertionError): until(lambda: 'runtime started' in out.read_text() or head.poll() is not None, 90)
            if found := re.search(r"--address='([\d.:]+)'", out.read_text()):
                yield found[1]
                return
        finally: ended_head(head)
    raise AssertionError(out.read_text())


@pytest.mark.long
@needs_ray
def test_equal_records_on_a_cluster(cluster, use, tmp_path, capfd):
    made = use([*squares(4), *(Job(f'bad/{how}', 'study_work:odd', dict(how=how)) for how in ODD)])
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    assert degas('study', 'squares', '--out', tmp_path/'here') == degas('study', 'squares', '--out', tmp_path/'ray', '--ray', cluster) == 1
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    here, there = (read_records(made, tmp_path/name/'squares') for name in ('here', 'ray'))
    assert len(here) == len(there) == len(made.jobs)
    for a, b in zip(plain(here), plain(there)):
        if a['args'].get('how') != 'is killed': assert a == b
        else: assert 'its process has ended' in a['error'] and 'its process has ended' in b['error']


@pytest.mark.long
@needs_ray
def test_who_leaves_the_loop_ends_the_runs_of_a_cluster(cluster, tmp_path):
    made = study([Job('long', 'study_work:sleep', dict(seconds=600)), *squares(1)], tmp_path)
    for record in run_study(made, tmp_path/'out', ray=cluster):
        until(lambda: (tmp_path/'pid').exists() and (tmp_path/'pid').read_text(), 60)
        break
    assert record['key'] == 'even/0'
    until(lambda: not alive((tmp_path/'pid').read_text()), 60)
    assert [r['key'] for r in read_records(made, tmp_path/'out')] == ['even/0']


def test_a_cluster_that_cannot_be_had(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(UserError, match=re.escape("pip install 'degas_nb[cluster]'")): next(run_study(study(squares(1), tmp_path), tmp_path/'out', ray='auto'))


@needs_ray
def test_no_cluster_at_an_address(tmp_path):
    with pytest.raises(UserError, match='no Ray cluster answers at'): next(run_study(study(squares(1), tmp_path), tmp_path/'out', ray='127.0.0.1:9'))


def few_of(path, to, step):
    "A zip of every so manieth image of another."
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(to, 'w') as few:
        for name in sorted(whole.namelist())[::step]: few.writestr(name, whole.read(name))
    return to


def test_the_first_table_in_miniature(shared_cifar, tmp_path, capfd):
    "Searching aside, all that table1 does; stopped after its first runs and gone on with, the same records; and never among those of the study."
    words = ['study', 'table1', '--quick', '--data', few_of(shared_cifar, tmp_path/'cifar10.zip', 50)]  # to decode all takes longer than the rows
    assert degas(*words, '--out', tmp_path/'whole', '--workers', 1) == 0
    page = capfd.readouterr().out
    assert 'ctgan' in page and 'figure1' in page and 'degas study table1 --quick --tables' in page and not (tmp_path/'whole'/'table1').exists()
    place = tmp_path/'part'/'table1-quick'
    place.mkdir(parents=True)
    first, *_ = (tmp_path/'whole'/'table1-quick'/'records.jsonl').read_text().splitlines(keepends=True)
    (place/'records.jsonl').write_text(first + '{"key": "ctgan/0", "wo')  # killed within a line
    assert degas(*words, '--out', tmp_path/'part', '--only', 'ctgan') == 0
    small = STUDIES['table1']().miniature()
    whole, part = ({r['key']: r['result'] for r in read_records(small, tmp_path/p/'table1-quick')} for p in ('whole', 'part'))
    assert part == {key: whole[key] for key in ('real/0', 'ctgan/0')} and len(whole) == 3
    sizes = {n_params(generator_of_size(spec, width=24)) for spec in ('resnet', 'dcgan', *map(network, range(0, 18_000_000, 1_000_003)))}
    assert max(sizes) < 1.02*min(sizes)


def test_no_miniature_is_said(tmp_path, capfd):
    assert degas('study', 'toy', '--quick', '--out', tmp_path) == 2 and '--quick' in capfd.readouterr().err and not any(tmp_path.iterdir())


def test_a_page_of_records_that_say_less():
    "Who copied them from elsewhere, or wrote them by hand, left out what no page needs."
    from degas_nb.app.studies import spread_of
    bare = dict(key='even/0', work='study_work:square', args=dict(x=0), seconds=1., result=dict(off=2.))
    made = Study('squares', 'What?', (Job('even/0', 'study_work:square', dict(x=0)),), lambda records: spread_of(records, 'off'))
    assert 'not said (1 runs)' in study_page(made, [bare]) and 'A run takes 1 seconds' in study_page(made, [bare])


@pytest.mark.parametrize('hardware, cpu, took', [('AMD EPYC, torch 2', 3.5, 3.5), ('NVIDIA H200, torch 2', 3.5, 9), ('AMD Instinct, torch 2', None, 9)])
def test_a_run_took_what_its_processor_worked_or_its_card_was_kept(hardware, cpu, took):
    assert own_seconds(dict(seconds=9, cpu=cpu, hardware=hardware)) == took
    assert own_seconds(dict(seconds=9)) == 9
