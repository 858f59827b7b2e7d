"""`import degas_nb` is light, and the names that everybody needs are there."""
import subprocess
import sys
import warnings
from importlib import import_module

import pytest

import degas_nb


def loaded_by(code):
    "Which of the heavy packages a line of Python imports."
    heavy = ['torch', 'torchvision', 'numpy', 'PIL', 'matplotlib', 'plotly', 'ipywidgets', 'IPython', 'scipy', 'tyro', 'triton']
    done = subprocess.run([sys.executable, '-c', f'{code}\nimport sys; print(*[m for m in {heavy} if m in sys.modules])'], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_bare_import_loads_nothing(): assert loaded_by('import degas_nb; dir(degas_nb); degas_nb.__version__') == set()


@pytest.mark.long
def test_the_numbers_need_no_notebook():
    "Searching, training and scoring import neither Jupyter nor plotly."
    assert not loaded_by('from degas_nb import load, Images, Search, SearchConfig, prune, Genotype, Generator, GANTraining, GANConfig, score_images') & {'plotly', 'ipywidgets', 'IPython', 'matplotlib', 'tyro'}


@pytest.mark.long
def test_a_command_waits_for_no_plotly():
    "What only a report, a page or a study needs comes when it is needed: `degas sample` is there in the time that torch takes."
    assert not loaded_by('import degas_nb.app.main') & {'torchvision', 'matplotlib', 'plotly', 'ipywidgets', 'IPython', 'scipy', 'triton'}


@pytest.mark.parametrize('name', degas_nb.__all__)
def test_a_name_is_the_one_of_its_module(name):
    value = getattr(degas_nb, name)
    assert value is getattr(import_module(value.__module__), name) and name in import_module(value.__module__).__all__ and name in dir(degas_nb)


def test_about_a_dozen(): assert 10 <= len(degas_nb.__all__) <= 14


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match='no attribute .serch.'): degas_nb.serch
    with pytest.raises(ImportError): exec('from degas_nb import serch')


OLD = dict(data='load Images', show='show_images UserError', runs='RunFolder checked_fields', ranks='Ranks', genotype='Genotype', generator='Generator',
           search='Search SearchConfig', prune='prune', gan='GANTraining GANConfig', metrics='score_images',
           live='live', replay='replay', report='run_report', cli='main SearchCommand')  # some names of modules that are rooms' now


@pytest.mark.parametrize('module', sorted({*degas_nb._WERE, *degas_nb._ROOMS}))
def test_old_paths_lead_to_the_new_ones_for_a_version(module):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        old = import_module(f'degas_nb.{module}')
        for home in degas_nb._WERE.get(module, '').split(): import_module(f'degas_nb.{home}')  # they are there
        names = OLD.get(module, '').split()
        for name in names:
            value = getattr(old, name)
            assert value.__module__.count('.') == 2 and value is getattr(import_module(value.__module__), name)
    assert len(seen) == len(names) and all(w.category is DeprecationWarning and w.filename == __file__ and 'is now degas_nb.' in str(w.message) for w in seen)
    with pytest.raises(AttributeError, match='no attribute'): old.nothing


@pytest.mark.long
def test_an_old_path_does_not_hide_the_front_door():
    "`degas_nb.prune` is a function and was a module."
    code = "import degas_nb.prune; from degas_nb.prune import prune; from degas_nb import prune as door; print(prune is door is degas_nb.prune)"
    assert subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, check=True).stdout == 'True\n'


@pytest.mark.long
def test_the_old_command_line_still_runs():
    done = subprocess.run([sys.executable, '-m', 'degas_nb.cli', '--version'], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith('degas_nb ')


def test_a_module_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError): import_module('degas_nb.nothing')
    with pytest.raises(ModuleNotFoundError): import_module('degas_nb.search.data')


def test_ctrl_c_while_torch_is_imported_is_one_line():
    code = """import signal, sys
class Press:
    def find_spec(self, name, path=None, target=None):
        if name == 'torch': signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Press())
signal.signal(signal.SIGINT, signal.default_int_handler)   # what runs in a shell's background is started with Ctrl-C ignored
import degas_nb
degas_nb.command_line()"""
    done = subprocess.run([sys.executable, '-c', code, 'search'], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, '', 'degas: stopped\n')
