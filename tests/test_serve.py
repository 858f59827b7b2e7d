"""`degas dashboard` as people use it: one address, behind a token, from any folder; the page moves with the run, asks nothing from outside, takes its kernel along, and everything is gone after Ctrl-C."""
import asyncio
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace

import pytest

from jupyter_server._tz import utcnow
from jupyter_server.services.kernels.kernelmanager import ServerKernelManager
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError

from degas_nb.app.main import main
from degas_nb.app.page import dashboard_page, _free_port, _in_a_line, _page_kernels
from degas_nb.gan.training import GANConfig
from degas_nb.ground.folders import RunFolder
from degas_nb.search.alternating import SearchConfig
from commands import process
from hostile import HOSTILE, spoil
from lab import FAINT, ROOT, Watched, shoot

TINY = '--limit 24 --batch-size 8 --width 4 --z-dim 16 --epochs 4'.split()


def degas(*words, **kw):
    "The command in a process of its own, not waited for."
    env = os.environ | dict(OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT), PYTHONSAFEPATH='1') | kw.pop('env', {})
    return subprocess.Popen([sys.executable, '-m', 'degas_nb.app.main', *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, **kw)


@pytest.fixture(scope='module')
def searched(tmp_path_factory):
    "A small search, finished; its name is one that HTML has to quote."
    out = tmp_path_factory.mktemp('runs') / "a <b>search {of} 'mine'"
    done = process('search', '--data', 'emoji', *TINY, '--asked', 8, '--out', out)
    assert done.returncode == 0, done.stderr
    return out


class Served:
    "The command, running; `address` is what it printed."
    def __init__(self, *words, **kw):
        self.process = degas('dashboard', *words, **kw)
        self.address = self.process.stdout.readline().strip()
        self.base, self.token = self.address.split('/?token=') if self.address else (None, None)

    def end(self, how=signal.SIGINT):
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.fixture
def serve(tmp_path):
    "Start a dashboard in a folder full of traps; whatever is left is ended."
    (tmp_path / 'voila.py').write_text('raise SystemExit("somebody else\'s voila.py was run")')
    (tmp_path / 'voila.json').write_text('{"Voila": {"ip": "0.0.0.0", "token": ""}}')
    (tmp_path / 'tmp').mkdir()
    started = []

    def start(*words):
        started.append(Served(*words, cwd=tmp_path, env=dict(TMPDIR=str(tmp_path / 'tmp'))))
        return started[-1]

    yield start
    for served in started:
        if served.process.poll() is None: served.process.kill()


# ---- what is refused, in one line

@pytest.fixture
def refusal(monkeypatch, capsys):
    "What the command says before it ends with 2, having printed nothing else."
    monkeypatch.setattr('degas_nb.app.main.exit_at_once', lambda code=0: None)

    def refused(*words):
        with pytest.raises(SystemExit) as left: main(['dashboard', *map(str, words)])
        out, err = capsys.readouterr()
        assert (left.value.code, out, len(err.splitlines())) == (2, '', 1), err
        return err

    return refused


def test_refusals(searched, tmp_path, refusal):
    assert 'no folder' in refusal(tmp_path / 'nothing')
    assert 'holds no run' in refusal(tmp_path)
    assert 'must be between 1 and 65535' in refusal(searched, '--port', '70000')
    assert 'must be between 1 and 65535' in refusal(searched, '--port', '-1')
    assert 'required' in refusal()
    (tmp_path / 'config.json').write_text('{"format": "degas-run/1", "kind": "search"')
    assert 'config.json' in refusal(tmp_path)
    RunFolder.create(tmp_path / 'tree', 'tree', {}, {})
    assert 'holds a tree run' in refusal(tmp_path / 'tree')
    RunFolder.create(tmp_path / 'odd', 'search', asdict(SearchConfig()) | dict(epochs='x'), {})
    assert "epochs cannot be 'x'" in refusal(tmp_path / 'odd')
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f'--port {port} cannot be used' in refusal(searched, '--port', port)


def test_voila_missing(searched, monkeypatch, refusal):
    monkeypatch.setattr('degas_nb.app.page.find_spec', lambda name: None)
    assert refusal(searched).strip() == "degas: degas dashboard needs Voila: pip install 'degas_nb[lab]'"


# ---- who may look

def status(url):
    "Where one gets, and how."
    try:
        with urllib.request.urlopen(url, timeout=10) as answer: return answer.status, answer.geturl(), answer.read().decode()
    except urllib.error.HTTPError as e: return e.code, url, ''


def goodbye(base, cookies, form='', **headers):
    "What the server answers to a page that ends its kernel (one that is not there any more, which is no mistake)."
    sent = dict(Cookie='; '.join(f'{k}={v}' for k, v in cookies.items())) | headers
    try: return urllib.request.urlopen(urllib.request.Request(f'{base}/voila/api/shutdown/{"0" * 8}', f'_xsrf={form}'.encode(), sent), timeout=10).status
    except urllib.error.HTTPError as e: return e.code


@pytest.mark.timeout(120)
def test_only_with_the_token_and_only_here(searched, serve, tmp_path):
    served = serve(searched)
    assert re.fullmatch(r'http://127\.0\.0\.1:\d+/\?token=[0-9a-f]{48}', served.address)
    for url in (f'{served.base}/', f'{served.base}/?token=', f'{served.base}/?token={"0" * 48}'):
        code, where, text = status(url)
        assert '/login' in where and 'Open the whole address' in text and 'dg-' not in text and searched.name not in text
    assert status(f'{served.base}/api/kernels/{"0" * 8}-0000-0000-0000-{"0" * 12}')[0] == 403
    visitor = HTTPConnection(served.base.removeprefix('http://'), timeout=10)
    visitor.request('GET', f'/login?token={served.token}')
    secret, login = '0123456789abcdef' * 2, dict(c.split(';')[0].split('=', 1) for c in visitor.getresponse().headers.get_all('Set-Cookie'))
    visitor.close()
    assert goodbye(served.base, dict(_xsrf=secret), secret) == 403, 'no login'
    assert goodbye(served.base, login) == goodbye(served.base, login | dict(_xsrf=secret)) == 403, 'another site, which cannot read the cookie of ours'
    assert goodbye(served.base, login | dict(_xsrf=secret), secret, Origin='http://example.org') == 404
    assert goodbye(served.base, login | dict(_xsrf=secret), secret, Origin=served.base) == 204
    port = int(served.base.rsplit(':', 1)[1])
    others = {a[4][0] for a in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {'127.0.0.1'}
    for host in others:
        with socket.socket() as s: assert s.connect_ex((host, port)) != 0, f'{host} answers'
    assert not list((tmp_path / 'tmp').glob('voila_*/kernel-*')), 'somebody without a token started a kernel'
    assert served.token not in ' '.join(Path(f'/proc/{served.process.pid}/cmdline').read_text().split('\0')) if Path('/proc').exists() else True
    code, out, err = served.end()
    assert (code, out) == (0, '') and 'Traceback' not in err and len(err.splitlines()) == 2
    assert not list((tmp_path / 'tmp').iterdir()), 'temporary files are left'


def test_a_kernel_without_a_page_is_ended():
    "8 looks after its page has gone, 60 when none ever came; one that starts or ends at the moment is left alone, one that died is not."
    manager, ended = _page_kernels(), []

    async def alive(): return True

    async def dead(): return False

    def looks(connections, **kernel):
        "How many looks a kernel survives."
        kernel, now, ended[:] = SimpleNamespace(**(dict(last_activity=0, shutting_down=False, is_alive=alive) | kernel)), [0], []

        async def shutdown(kernel_id): ended.append(kernel_id)

        stub = SimpleNamespace(get_kernel=lambda k: kernel, kernel_model=lambda k: dict(connections=connections(now[0])), shutdown_kernel=shutdown)
        while not ended and now[0] < 200:
            asyncio.run(manager.cull_kernel_if_idle(stub, 'k'))
            now[0] += 1
        return now[0]

    assert looks(lambda n: 1) == 200
    assert looks(lambda n: 0) == 60
    assert looks(lambda n: 1 if n < 20 else 0) == 28
    assert looks(lambda n: 1 if n == 40 else 0) == 49
    assert looks(lambda n: 1, is_alive=dead) == 1
    assert looks(lambda n: 0, shutting_down=True) == 200


def manager_of(kernel):
    manager = _page_kernels()(kernel_manager_class='jupyter_server.services.kernels.kernelmanager.ServerKernelManager')
    manager._kernels['k'] = kernel
    return manager


@pytest.mark.parametrize('kernel', [lambda: ServerKernelManager(kernel_name='degas'), lambda: ServerKernelManager(), lambda: SimpleNamespace(kernel_name='degas')])
def test_a_kernel_that_starts_or_ends_raises_nothing(kernel):
    "jupyter_server's own manager raises a TraitError when somebody asks a kernel, that nobody follows yet, for its last activity."
    manager = manager_of(kernel())
    asyncio.run(manager.cull_kernel_if_idle('k'))
    assert 'k' in manager._kernels and manager.list_kernels() == []
    with pytest.raises(HTTPError, match='starting or ending'): manager.kernel_model('k')
    with pytest.raises(HTTPError, match='not exist'): manager.kernel_model('another')
    manager._kernels['k'] = SimpleNamespace(kernel_name='degas', last_activity=utcnow(), execution_state='idle')
    assert manager.kernel_model('k')['connections'] == 0


@pytest.mark.parametrize('error', [ValueError('two\nlines'), KeyError('x'), RuntimeError()])
def test_the_server_says_what_goes_wrong_in_a_line(error, caplog):
    log = logging.getLogger('degas.test')
    log.addFilter(_in_a_line)
    try: raise error
    except Exception: log.error('Uncaught exception GET %s\nand more', '/x', exc_info=True)
    said = caplog.records[-1]
    assert said.getMessage().startswith(f'Uncaught exception GET /x: {type(error).__name__}') and len(said.getMessage().splitlines()) == 1 and not said.exc_info
    try: raise StreamClosedError()
    except StreamClosedError: log.error('late', exc_info=True)
    log.error('plain')
    assert [r.getMessage() for r in caplog.records[1:]] == ['plain']


@pytest.mark.timeout(120)
def test_pages_of_no_run(searched, serve):
    "Whoever logs out, goes astray or asks for nonsense gets a page or a number; the shell stays free of tracebacks."
    served = serve(searched)
    code, _, text = status(f'{served.base}/logout')
    assert code == 200 and 'Logged out' in text and 'degas dashboard' in text
    for where in ('/nothing', '/voila/render/other.ipynb', '/voila/files/x', '/static/none.js', '/%ff', '/api/kernels/none', '/tree/x', '/voila/static/none'):
        assert status(served.base + where)[0] in (200, 302, 400, 403, 404), where
    code, out, err = served.end()
    assert code == 0 and 'Traceback' not in err and 'File "' not in err and len(err.splitlines()) <= 5, err


# ---- what is seen

def open_page(browser, served, **kw):
    page = browser.new_page(**(dict(viewport=dict(width=1280, height=1500)) | kw))
    seen = Watched(page, served.base)
    page.on('console', lambda m: seen.errors.append(f'{m.type}: {m.text}'))       # not only errors: nothing at all is said there
    page.goto(served.address, wait_until='commit')
    assert 'Reading the run' in page.locator('#loading').text_content()           # long before there is a kernel
    page.locator('.dg-dashboard').wait_for(timeout=60_000)
    return seen


def kernels(folder):
    "Processes of kernels whose connection files are below a folder."
    return subprocess.run(['pgrep', '-f', str(folder / 'tmp/voila_')], capture_output=True, text=True).stdout.split()


def kernels_become(folder, n, seconds=12):
    "Wait until so many are left."
    end = time.monotonic() + seconds
    while len(kernels(folder)) != n and time.monotonic() < end: time.sleep(.2)
    assert len(kernels(folder)) == n


def data(seen, name): return seen.page.locator('.dg-dashboard').get_attribute(f'data-{name}')


def until(seen, name, wanted, seconds=15):
    "Wait until an attribute of the dashboard has a value."
    seen.page.wait_for_function('([name, wanted]) => document.querySelector(".dg-dashboard")?.dataset[name] === wanted', arg=[name, wanted], timeout=seconds * 1000)


# panels whose content reaches beyond the dashboard
CUT = '''v => [...v.querySelectorAll(".dg-figure:not([hidden])")].filter(f => [f, ...f.children].some(e => e.getBoundingClientRect().right > v.getBoundingClientRect().right + 1)).map(f => f.className)'''


def moves(page, key):
    "The slider of the replay, by keyboard: step, bars and sentence follow."
    shown = lambda: (page.locator('.widget-readout').last.text_content(), page.locator('.dg-sentence').last.text_content(),
                     page.evaluate('() => [...document.querySelectorAll(".js-plotly-plot .barlayer path")].map(e => e.getAttribute("d")).join()'))
    before = shown()
    page.locator('.noUi-handle').last.focus()
    page.keyboard.press(key)
    page.wait_for_timeout(1000)
    assert all(a != b for a, b in zip(before, shown())), (before[:2], shown()[:2])


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_finished_search(searched, serve, browser, tmp_path):
    before, port = {p: p.read_bytes() for p in searched.rglob('*') if p.is_file()}, _free_port(0)
    served = serve(searched, '--port', port)
    assert served.base == f'http://127.0.0.1:{port}'
    seen = open_page(browser, served)
    page = seen.page
    until(seen, 'step', '12')
    assert page.locator('h1').text_content() == searched.name
    assert page.locator('.dg-edge-name').count() == 11
    page.locator('.js-plotly-plot .barlayer .bars').first.wait_for(timeout=30_000)
    page.wait_for_timeout(500)
    shoot(page, 'voila')
    moves(page, 'ArrowRight')
    assert not page.locator('#rendered_cells').evaluate(FAINT)
    assert not page.locator('.dg-dashboard').evaluate(CUT), 'a panel is wider than its place'
    assert len(kernels(tmp_path)) == 1
    dark = open_page(browser, served, color_scheme='dark', viewport=dict(width=390, height=1500))
    dark.page.locator('.dg-sentence').wait_for(timeout=30_000)
    assert not dark.page.locator('#rendered_cells').evaluate(FAINT)
    assert dark.page.evaluate('getComputedStyle(document.body).backgroundColor') == 'rgb(17, 17, 17)'
    assert dark.page.evaluate('document.body.dataset.jpThemeLight') == 'false' != page.evaluate('document.body.dataset.jpThemeLight')
    shoot(dark.page, 'voila_dark_phone')
    assert len(kernels(tmp_path)) == 2
    dark.page.emulate_media(color_scheme='light')
    assert not dark.page.locator('#rendered_cells').evaluate(FAINT)
    dark.page.goto('about:blank')                            # left for another page
    kernels_become(tmp_path, 1)
    assert page.locator('#dg-lost').is_hidden()
    for each in (seen, dark): each.was_quiet()
    dark.page.close()
    assert {p: p.read_bytes() for p in searched.rglob('*') if p.is_file()} == before, 'watching changed the run'
    page.close()
    kernels_become(tmp_path, 0)
    code, out, err = served.end(signal.SIGTERM)
    assert code == 0 and 'Traceback' not in err, err
    assert not list((tmp_path / 'tmp').iterdir())


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_run_that_goes_on(searched, serve, browser, tmp_path):
    "It has no trace when the page is opened; then its lines come."
    run = tmp_path / 'run'
    shutil.copytree(searched, run)
    rows = RunFolder.open(searched).trace.read()
    for name in ('trace.jsonl', 'genotype.json', 'report.html', 'checkpoint.pt', 'checkpoint.prev.pt'): (run / name).unlink(missing_ok=True)
    served = serve(run)
    seen = open_page(browser, served)
    assert data(seen, 'step') in ('-1', '0')   # 0: targets, and no line
    for row in rows[:5]:
        with open(run / 'trace.jsonl', 'a') as f: f.write(json.dumps(row) + '\n')
        time.sleep(.1)
    until(seen, 'step', '5')
    bars = seen.page.locator('.dg-fill').first.get_attribute('style')
    with open(run / 'trace.jsonl', 'a') as f: f.writelines(json.dumps(row) + '\n' for row in rows[5:11])
    until(seen, 'step', '11')
    assert seen.page.locator('.dg-fill').first.get_attribute('style') != bars
    assert 'Nothing to replay: ' in seen.page.locator('.dg-nothing').text_content()
    seen.was_quiet()
    run.rename(tmp_path / 'elsewhere')
    seen.page.reload()
    seen.page.get_by_text(f'There is nothing to watch: {run} is gone. When the run is back, reload this page.').wait_for(timeout=30_000)
    (tmp_path / 'elsewhere').rename(run)
    with open(run / 'trace.jsonl', 'a') as f: f.write('{"step": 12, "wei\n')
    seen.page.reload()
    until(seen, 'step', '11', 60)
    kernels_become(tmp_path, 1)                              # reloaded twice
    for words in ('.dg-says', '.dg-nothing'): assert 'line 12 of' in seen.page.locator(words).text_content()
    seen.was_quiet()
    code, out, err = served.end()
    assert (code, out, len(err.splitlines())) == (0, '', 3) and 'recorded no step yet' in err, err
    seen.page.get_by_text('The dashboard does not answer any more').wait_for(timeout=15_000)
    assert not kernels(tmp_path) and not list((tmp_path / 'tmp').iterdir())


def test_what_is_said_of_a_damaged_run(searched, tmp_path):
    "A page that is opened again after its config.json was damaged, or became one of nobody's runs."
    run = tmp_path / '<i>run'
    shutil.copytree(searched, run)
    for text in ('{"format": ', '{"format": "degas-run/1", "kind": "search", "config": {"epochs": "x"}, "data": {}}'):
        (run / 'config.json').write_text(text)
        page = dashboard_page(run)
        assert [c['cell_type'] for c in page['cells']] == ['markdown'] * 2
        assert 'config.json' in page['cells'][1]['source'] and '<i>run' not in page['cells'][1]['source']


def test_the_page_of_a_training_has_nothing_to_replay(searched, tmp_path):
    source = lambda run: ' '.join(c['source'] for c in dashboard_page(run.path)['cells'])
    training = RunFolder.create(tmp_path / 'gan', 'gan', GANConfig().to_dict(), dict(name='emoji'))
    assert 'scrub(' in source(RunFolder.open(searched)) and 'scrub(' not in source(training) and 'watch(' in source(training)


@pytest.mark.long
@pytest.mark.timeout(180)
def test_names_on_the_page_are_text(searched, serve, browser, tmp_path):
    "Whatever a run calls its images, operations and losses: nothing on the page runs, leads or asks outside; and no script could, within the page or from outside."
    run = shutil.copytree(searched, tmp_path / 'run' / '![i](http:%2f%2fevil.example%2fx.png) <b>$x$')
    spoil(run, ''.join(HOSTILE[k] for k in ('markdown', 'html', 'formula', 'links', 'control', 'direction')))
    served = serve(run)
    seen = open_page(browser, served)
    seen.page.on('dialog', lambda d: (seen.errors.append(f'dialog: {d.message}'), d.dismiss()))
    until(seen, 'step', '12')
    seen.page.locator('.js-plotly-plot .barlayer .bars').first.wait_for(timeout=30_000)
    seen.page.wait_for_timeout(500)
    assert seen.page.locator('h1').text_content() == run.name
    assert '[click](javascript:alert(6))' in seen.page.locator('#rendered_cells p').first.text_content()
    leads = seen.page.eval_on_selector_all('#rendered_cells a, #rendered_cells img', 'es => es.map(e => e.getAttribute("href") || e.getAttribute("xlink:href") || e.getAttribute("src"))')
    assert all(lead.startswith(('data:image/', 'blob:')) for lead in leads if lead), leads
    seen.was_quiet()
    ran = seen.page.evaluate('''() => new Promise(done => {
        document.addEventListener("securitypolicyviolation", e => done([e.blockedURI, window.ran === undefined]), {once: true});
        const script = document.createElement("script");
        script.textContent = "window.ran = true"; document.head.append(script); })''')
    assert ran == ['inline', True]
    refused = seen.page.evaluate('''() => new Promise(done => {
        document.addEventListener("securitypolicyviolation", e => done(e.blockedURI));
        const script = document.createElement("script");
        script.src = "http://evil.example/x.js"; document.head.append(script); })''')
    assert refused.startswith('http://evil.example/')
    assert "frame-ancestors 'self'" in urllib.request.urlopen(f'{served.base}/login').headers['Content-Security-Policy']
