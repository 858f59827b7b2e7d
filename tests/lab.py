"""A real JupyterLab and a real browser for tests: fixtures `chromium`, `lab` and `browser` (conftest.py hands them out), and `Lab`, one open notebook."""
import io
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PICTURES = os.environ.get('DEGAS_PICTURES')
CHROMIUM = next((p for p in [os.environ.get('CHROMIUM'), shutil.which('chromium'), shutil.which('chromium-browser'), shutil.which('google-chrome')] if p), None)
HERE = '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1'   # and nobody else can be asked
FLAGS = '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'.split() + [HERE]
SETTINGS = {
    'apputils-extension/kernels-settings': {'commsOverSubshells': 'disabled'},
    'notebook-extension/tracker': {'windowingMode': 'none'},
    'docmanager-extension/plugin': {'autosave': False},
}


def quiet_flags():
    "What keeps `make lab` from asking anybody outside; also here, so that a page that is watched would tell."
    return re.search(r'^QUIET := (.*)$', (ROOT / 'Makefile').read_text(), re.M)[1].split()


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def jupyter_home(folder):
    "Environment in which everything that Jupyter reads and writes lies in `folder`, and kernels have one thread."
    kinds = dict(JUPYTER_CONFIG_DIR='config', JUPYTER_DATA_DIR='data', JUPYTER_RUNTIME_DIR='runtime', JUPYTERLAB_WORKSPACES_DIR='workspaces',
                 JUPYTERLAB_SETTINGS_DIR='settings', IPYTHONDIR='ipython')
    return os.environ | {k: str(folder / v) for k, v in kinds.items()} | dict(OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))


def wait_for(address, server, log, seconds=40):
    "Until `address` answers; what the server logged when it does not."
    for _ in range(seconds * 5):
        if server.poll() is not None: break
        try: return urllib.request.urlopen(address, timeout=2)
        except OSError: time.sleep(.2)
    raise RuntimeError(f'the server did not start: {log.read_text()[-800:]}')


def end(server):
    "Ask it to stop, and insist."
    server.terminate()
    try: server.wait(10)
    except subprocess.TimeoutExpired: server.kill()


@pytest.fixture(scope='session')
def chromium():
    "Path of a Chromium; without one the test is skipped, and says how to get it."
    if CHROMIUM is None: pytest.skip('no Chromium on this machine: `make browser` installs one (Debian, Ubuntu), or name one in CHROMIUM')
    pytest.importorskip('playwright')
    return CHROMIUM


@pytest.fixture(scope='session')
def lab(chromium, tmp_path_factory):
    "A JupyterLab of our own: loopback, random token, its configuration in a temporary folder. (url, token, root)"
    home, root, port, token = tmp_path_factory.mktemp('lab'), tmp_path_factory.mktemp('nbs'), free_port(), secrets.token_hex(16)
    shutil.copytree(ROOT / 'nbs/pictures', root / 'pictures')          # lessons show some, as `../pictures/...`
    for name, value in SETTINGS.items():
        path = home / 'settings/@jupyterlab' / f'{name}.jupyterlab-settings'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
    command = [sys.executable, '-m', 'jupyter', 'lab', '--no-browser', '--ip=127.0.0.1', f'--port={port}', '--ServerApp.port_retries=0', '--allow-root',
               f'--IdentityProvider.token={token}', f'--ServerApp.root_dir={root}', '--expose-app-in-browser', *quiet_flags()]
    url = f'http://127.0.0.1:{port}'
    with open(home / 'log', 'w') as log: server = subprocess.Popen(command, env=jupyter_home(home), stdout=log, stderr=log, cwd=root)
    try:
        wait_for(f'{url}/api/status?token={token}', server, home / 'log')
        yield url, token, root
    finally: end(server)


@contextmanager
def lab_setting(lab, plugin, values):
    "For pages that are opened meanwhile, a plugin of JupyterLab has other settings."
    url, token, _ = lab
    name, key = plugin.split(':')

    def put(values):
        body = json.dumps(dict(raw=json.dumps(values))).encode()
        urllib.request.urlopen(urllib.request.Request(f'{url}/lab/api/settings/@jupyterlab/{plugin}?token={token}', body, {'Authorization': f'token {token}'}, method='PUT'))

    put(values)
    try: yield
    finally: put(SETTINGS[f'{name}/{key}'])


@pytest.fixture(scope='module')
def browser(chromium):
    "Chromium, driven by Playwright; of each module its own, because two at once share no thread."
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium, args=FLAGS)
        yield b
        b.close()


class Watched:
    "A page that may ask nobody but its own server, and whose errors are collected."
    def __init__(self, page, base):
        self.page, self.base, self.outside, self.errors = page, base, [], []
        page.on('request', lambda r: self.asked(r.url))     # asking the page itself to wait for an answer costs a second a page
        page.on('websocket', lambda w: self.asked(w.url))
        page.on('pageerror', lambda e: self.errors.append(str(e)))
        page.on('console', lambda m: self.errors.append(m.text) if m.type == 'error' else None)

    def asked(self, url):
        if not url.startswith((self.base, self.base.replace('http', 'ws', 1), 'data:', 'blob:')): self.outside.append(url)

    def was_quiet(self):
        "No error on the console, no request to anywhere else."
        assert not self.outside, self.outside
        assert not self.errors, self.errors


class Lab(Watched):
    "One notebook, open in the browser."
    def __init__(self, page, lab, name, attach=False):
        super().__init__(page, lab[0])
        self.name, self.token = name, lab[1]
        page.goto(f'{self.base}/lab/workspaces/auto-{secrets.token_hex(4)}/tree/{name}?token={self.token}&reset')
        page.wait_for_function('() => window.jupyterapp && document.querySelectorAll(".jp-CodeCell").length > 0', timeout=40_000)
        page.evaluate('''async attach => {
            await jupyterapp.restored;
            const w = jupyterapp.shell.currentWidget;
            await w.context.ready; await w.sessionContext.ready;
            const kernel = w.sessionContext.session.kernel;
            for (let i = 0; i < 400 && kernel.status !== "idle"; i++) await new Promise(r => setTimeout(r, 50));
            await kernel.info;
            if (!attach) await jupyterapp.commands.execute("notebook:clear-all-cell-outputs"); }''', attach)

    def run(self, i, wait=True):
        "Run cell `i`; with `wait` until it has finished."
        self.page.evaluate('''async ([i, wait]) => {
            const n = jupyterapp.shell.currentWidget.content;
            n.activeCellIndex = i; n.deselectAll();
            const done = jupyterapp.commands.execute("notebook:run-cell");
            if (wait) await done; }''', [i, wait])

    def write(self, i, source):
        "Another text for cell `i`."
        self.page.evaluate('([i, source]) => jupyterapp.shell.currentWidget.content.widgets[i].model.sharedModel.setSource(source)', [i, source])

    def outputs(self, i): return self.page.evaluate('i => jupyterapp.shell.currentWidget.content.widgets[i].model.outputs.toJSON()', i)

    def text(self, i): return ' '.join(''.join(o.get('text', '')) or o.get('evalue', '') for o in self.outputs(i))

    def cell(self, i): return self.page.locator('.jp-Notebook .jp-Cell').nth(i)

    def theme(self, name):
        "'JupyterLab Light' or 'JupyterLab Dark'."
        self.page.evaluate('theme => jupyterapp.commands.execute("apputils:change-theme", {theme})', name)
        self.page.wait_for_function('light => document.body.dataset.jpThemeLight === light', arg=str(name.endswith('Light')).lower(), timeout=10_000)
        self.page.wait_for_timeout(500)

    def save(self): self.page.evaluate('() => jupyterapp.commands.execute("docmanager:save")')


def write_notebook(path, *sources):
    "A notebook of code cells."
    nb = nbformat.v4.new_notebook(metadata=dict(kernelspec=dict(display_name='python3', language='python', name='python3')))
    nb.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nb, path)


def shoot(page, name, **kw):
    "A screenshot for people to look at: tests/shots is not kept in git."
    folder = ROOT / 'tests/shots'
    folder.mkdir(exist_ok=True)
    page.screenshot(path=folder / f'{name}.png', **kw)


def picture(place, name):
    "A screenshot of an element for the documentation, small, where DEGAS_PICTURES says; else for people, in tests/shots."
    if not PICTURES: return shoot(place, name)
    image = Image.open(io.BytesIO(place.screenshot(style='.Toastify { display: none }'))).convert('RGB')
    assert len(image.getcolors(1 << 24)) > 8, f'{name} is blank'
    for image in (image, image.quantize(256, dither=0), image.quantize(48, dither=0)):
        file = io.BytesIO()
        image.save(file, 'PNG', optimize=True)
        if len(file.getvalue()) < 150_000: break
    assert len(file.getvalue()) < 150_000, f'{name}: {len(file.getvalue())} bytes'
    (ROOT / PICTURES).mkdir(exist_ok=True)
    (ROOT / PICTURES / f'{name}.png').write_bytes(file.getvalue())


def contrast(a, b):
    "WCAG contrast of two css colours `rgb(...)`."
    def luminance(css):
        rgb = [float(v) / 255 for v in css[css.index('(') + 1:-1].split(',')[:3]]
        return sum(w * (v / 12.92 if v <= .04045 else ((v + .055) / 1.055)**2.4) for w, v in zip((.2126, .7152, .0722), rgb))
    high, low = sorted([luminance(a), luminance(b)], reverse=True)
    return (high + .05) / (low + .05)


# contrast of what is drawn with what is behind it, half-transparent ink mixed
CONTRAST = '''
    const rgba = css => { const [r, g, b, a = 1] = css.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
    const lum = rgb => rgb.map(s => s / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4).reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
    const paper = e => { while (e && rgba(getComputedStyle(e).backgroundColor)[3] === 0) e = e.parentElement; return rgba(getComputedStyle(e || document.body).backgroundColor).slice(0, 3); };
    const contrast = (ink, e) => {
        const ground = paper(e), [r, g, b, a] = rgba(ink), mixed = [r, g, b].map((c, i) => a * c + (1 - a) * ground[i]);
        const [high, low] = [lum(mixed), lum(ground)].sort((x, y) => y - x);
        return (high + .05) / (low + .05);
    };
    const told = (e, inks) => `${e.getAttribute("class")} "${e.textContent}" ${inks} on ${paper(e)}`;'''

# text that cannot be read
FAINT = '''v => {''' + CONTRAST + '''
    const found = [];
    for (const e of v.querySelectorAll("span, p, figcaption, h1, h2, h4, code, label, div, svg text, button")) {
        if (e.getAttribute("aria-disabled") === "true" || e.children.length || !e.textContent.trim() || !e.getClientRects().length) continue;
        const style = getComputedStyle(e), ink = e.tagName === "text" ? style.fill : style.color;
        if (contrast(ink, e) < 4.5) found.push(told(e, ink));
    }
    return [...new Set(found)].slice(0, 5); }'''

# bars, lines and points that cannot be told from the page: neither what fills them nor what surrounds them
PALE = '''v => {''' + CONTRAST + '''
    const found = [], look = (what, sides) => {
        for (const e of v.querySelectorAll(what)) {
            const inks = sides.map(side => getComputedStyle(e)[side]).filter(ink => ink.startsWith("rgb("));
            if (inks.length && Math.max(...inks.map(ink => contrast(ink, e))) < 3) found.push(told(e, inks));
        }
    };
    look(".scatterlayer .js-line, .contourlayer path, .shapelayer path, .zerolinelayer path, .dg-room .widget-html path[stroke], .dg-room .widget-html rect[stroke]", ["stroke"]);
    look(".barlayer .point path, .scatterlayer .point", ["fill", "stroke"]);
    return [...new Set(found)].slice(0, 5); }'''
