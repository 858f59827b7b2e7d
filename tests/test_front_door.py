"""`import degas_nb` is light, and the names that everybody needs are there."""
import subprocess
import sys
from importlib import import_module

import pytest

import degas_nb


def loaded_by(code):
    "Which of the heavy packages a line of Python imports."
    heavy = ['torch', 'torchvision', 'numpy', 'PIL', 'matplotlib', 'plotly', 'ipywidgets', 'IPython', 'scipy', 'tyro']
    done = subprocess.run([sys.executable, '-c', f'{code}\nimport sys; print(*[m for m in {heavy} if m in sys.modules])'], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_bare_import_loads_nothing(): assert loaded_by('import degas_nb; dir(degas_nb); degas_nb.__version__') == set()


def test_the_numbers_need_no_notebook():
    "Searching, training and scoring import neither Jupyter nor plotly."
    assert not loaded_by('from degas_nb import load, Images, Search, SearchConfig, prune, Genotype, Generator, GANTraining, GANConfig, score_images') & {'plotly', 'ipywidgets', 'IPython', 'matplotlib', 'tyro'}


@pytest.mark.parametrize('name', degas_nb.__all__)
def test_a_name_is_the_one_of_its_module(name):
    value = getattr(degas_nb, name)
    assert value is getattr(import_module(value.__module__), name) and name in import_module(value.__module__).__all__ and name in dir(degas_nb)


def test_about_a_dozen(): assert 10 <= len(degas_nb.__all__) <= 14


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match='no attribute .serch.'): degas_nb.serch
    with pytest.raises(ImportError): exec('from degas_nb import serch')
