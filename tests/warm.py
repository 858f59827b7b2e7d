"""A Python of its own without two seconds of imports: a fork of a server that has imported torch and nothing of ours.

What a shell decides (streams that are closed or broken, signals that are ignored, a terminal), how a module becomes `__main__`, and what an
interpreter does at its end are the real ones: the fork leaves the server's loop and runs to the end of this file.
"""
import io, json, os, secrets, select, signal, socket, subprocess, sys, tempfile, types
from pathlib import Path
from typing import NamedTuple

IMPORTED = ['torch', 'torch._dynamo', 'torchvision', 'scipy.linalg', 'PIL.Image', 'matplotlib.pyplot', 'plotly.graph_objects', 'anywidget', 'tyro', 'safetensors.torch', 'accelerate', 'torch.distributed.launcher.api']
CLOSED = 'closed'   # a stream that a shell has closed


class Done(NamedTuple):
    returncode:int  # negative: killed by that signal
    stdout:str
    stderr:str


# ---------------------------------------------------------------- who asks

class Python:
    "A process as `subprocess.Popen` shows it. `words` are what stands behind `python`: `-c code ...` or `-m module ...`."
    server = None   # (process, address), of this process

    def __init__(self, *words, streams=(None, None, None), env=None, cwd=None, ignored=(), terminal=False):
        if Python.server is None or Python.server[2] != os.getpid(): Python.server = begin()
        self.link = socket.socket(socket.AF_UNIX)
        self.link.connect(Python.server[1])
        given = [fd if s is None else s if isinstance(s, int) else s.fileno() for fd, s in enumerate(streams) if s != CLOSED]
        asked = dict(words=[*map(str, words)], closed=[fd for fd, s in enumerate(streams) if s == CLOSED], env=dict(env or os.environ), cwd=str(cwd or os.getcwd()), ignored=[*map(int, ignored)], terminal=terminal)
        said = json.dumps(asked).encode()
        socket.send_fds(self.link, [len(said).to_bytes(4, 'big')], given)
        self.link.sendall(said)
        self.answers, self.returncode = self.link.makefile('r'), None
        self.pid = int(self.answers.readline())

    def wait(self, timeout=None):
        if self.returncode is None and select.select([self.link], [], [], timeout)[0]:
            self.returncode = os.waitstatus_to_exitcode(int(self.answers.readline()))
            self.answers.close()
            self.link.close()
        if self.returncode is None and timeout != 0: raise subprocess.TimeoutExpired('python', timeout)
        return self.returncode

    def poll(self): return self.wait(0)
    def send_signal(self, sent): os.kill(self.pid, sent)
    def kill(self): self.send_signal(signal.SIGKILL)
    def terminate(self): self.send_signal(signal.SIGTERM)


def python(*words, stdin=None, stdout=None, stderr=None, timeout=100, **kw):
    "Run it to its end; streams that nobody names are caught."
    with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as err, open(os.devnull) as nothing:
        run = Python(*words, streams=(stdin or nothing, stdout or out, stderr or err), **kw)
        try: code = run.wait(timeout)
        except subprocess.TimeoutExpired:
            run.kill()
            raise
        for f in out, err: f.seek(0)
        return Done(code, out.read(), err.read())


def begin():
    "Start the server; it ends with this process."
    name = f'warm-{os.getpid()}-{secrets.token_hex(4)}'
    process = subprocess.Popen([sys.executable, __file__, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    return process, f'\0{name}', os.getpid()


# ---------------------------------------------------------------- the server

def serve(address):
    "Returns in the processes that are asked for: what was asked, and the streams."
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(16)
        print('ready', flush=True)
        while True:
            if listening in select.select([listening, 0], [], [])[0]:
                link, _ = listening.accept()
                if not os.fork(): return watched(link)
                link.close()
            else: os._exit(0)   # who asked has ended


def watched(link):
    "Between the server and the process: says its pid, waits for it, says how it ended."
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    n, fds, _, _ = socket.recv_fds(link, 4, 3)
    said = b''
    while len(said) < int.from_bytes(n, 'big'):
        if not (more := link.recv(65536)): os._exit(1)   # who asked has ended
        said += more
    child = os.fork()
    if not child:
        link.close()
        return json.loads(said), fds
    for fd in {0, 1, 2, *fds}: os.close(fd)
    try:
        link.sendall(f'{child}\n'.encode())
        link.sendall(f'{os.waitpid(child, 0)[1]}\n'.encode())
    finally: os._exit(0)


def stream(fd, mode, name, **kw):
    "What the interpreter makes of a file that it finds open, or not."
    try: os.fstat(fd)
    except OSError: return None
    raw = io.FileIO(fd, mode, closefd=False)
    raw.name = name
    buffer = io.BufferedReader(raw) if mode == 'r' else io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, 'utf-8', **dict(line_buffering=raw.isatty()) | kw)


def become(asked, fds):
    "Streams, signals, folder and environment as those of who was asked for."
    if asked['terminal']: os.setsid()
    fds = dict(zip([fd for fd in range(3) if fd not in asked['closed']], fds))
    for fd in range(3):
        if fd in fds: os.dup2(fds[fd], fd)
        else: os.close(fd)
    for fd in fds.values(): os.close(fd)
    if asked['terminal']:
        import fcntl, termios
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for sent in asked['ignored']: signal.signal(sent, signal.SIG_IGN)
    sys.stdin, sys.stdout, sys.stderr = stream(0, 'r', '<stdin>'), stream(1, 'w', '<stdout>'), stream(2, 'w', '<stderr>', errors='backslashreplace', line_buffering=True)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    os.environ.clear()
    os.environ.update(asked['env'])
    os.chdir(asked['cwd'])
    sys.path[:] = ['', *asked['env'].get('PYTHONPATH', '').split(os.pathsep), *PATH]
    import torch
    torch.set_num_threads(int(asked['env'].get('OMP_NUM_THREADS', len(os.sched_getaffinity(0)))))   # which torch has read when the server began


if __name__ == '__main__':
    import gc, importlib, runpy
    PATH = [p for p in sys.path if p not in {str(Path(__file__).parent), *os.environ.get('PYTHONPATH', '').split(os.pathsep)}]
    for name in IMPORTED:
        try: importlib.import_module(name)
        except ImportError: pass
    gc.freeze()
    asked, fds = serve(f'\0{sys.argv[1]}')
    become(asked, fds)
    how, what, *sys.argv = asked['words']
    main = sys.modules['__main__'] = types.ModuleType('__main__')
    if how == '-m':
        sys.argv.insert(0, what)
        runpy._run_module_as_main(what)
    else:
        sys.argv.insert(0, '-c')
        exec(compile(what, '<string>', 'exec'), vars(main))
