"""Kernels that need no two seconds of imports: each a process of its own, forked from a server that has imported torch and nothing of ours.

`torch._dynamo` is there because the first optimiser of a process imports it, which takes as long as the rest of torch.
anywidget isn't: ipywidgets looks, when it is imported, for the kernel that it talks through.
"""
import gc
import multiprocessing
import os
import sys
from pathlib import Path

from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

import warm

ROOT = Path(__file__).resolve().parents[1]
IMPORTED = [*(name for name in warm.IMPORTED if name != 'anywidget'), 'fastcore.test', 'ipykernel.kernelapp', 'ipykernel.ipkernel', 'plotly.subplots', 'pytorch_fid.inception', 'scipy.stats']
INLINE = 'module://matplotlib_inline.backend_inline'
SERVER = multiprocessing.get_context('forkserver') if 'forkserver' in multiprocessing.get_all_start_methods() else None


def be_kernel(argv, env, cwd):
    "What `python -m ipykernel_launcher` does, in a child of the server."
    gc.freeze()   # what the server has imported is nobody's garbage: looking for some there takes half a second each time
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    ours = {str(ROOT), str(ROOT/'tests'), str(ROOT/'tools'), ''}
    sys.path[:] = ['', *env.get('PYTHONPATH', '').split(os.pathsep), *(p for p in sys.path if p not in ours)]
    for name in ('kernels', 'warm', '__mp_main__'): sys.modules.pop(name, None)
    sys.argv = ['ipykernel_launcher.py', *argv, f'--IPKernelApp.parent_handle={os.getppid()}']   # it ends when the server has ended
    import matplotlib
    import torch
    from ipykernel import kernelapp
    matplotlib.rcParams['backend'] = INLINE   # which it would have read in a kernel
    torch.set_num_threads(int(env['OMP_NUM_THREADS']))   # which torch has read when the server began
    kernelapp.launch_new_instance()


class Child:
    "A child of the server, as `subprocess.Popen` shows its own."
    stdin = stdout = stderr = None
    def __init__(self, process): self.process, self.pid = process, process.pid
    def poll(self): return self.process.exitcode
    def wait(self):
        self.process.join()
        return self.process.exitcode
    def send_signal(self, signum): os.kill(self.pid, signum)
    def kill(self): self.process.kill()
    def terminate(self): self.process.terminate()


class Forking(LocalProvisioner):
    "Starts a kernel by forking it."
    async def launch_kernel(self, cmd, **kwargs):
        process = SERVER.Process(target=be_kernel, args=(cmd[cmd.index('ipykernel_launcher') + 1:], dict(kwargs['env']), kwargs['cwd']))
        process.start()
        self.process, self.pid = Child(process), process.pid
        return self.connection_info


class ForkedKernel(AsyncKernelManager):
    "`python3`, forked."
    async def _async_pre_start_kernel(self, **kw):
        if self.provisioner is None and SERVER:
            SERVER.set_forkserver_preload(IMPORTED)
            self.provisioner = Forking(parent=self, kernel_id='', kernel_spec=self.kernel_spec)
        return await super()._async_pre_start_kernel(**kw)

    pre_start_kernel = _async_pre_start_kernel
