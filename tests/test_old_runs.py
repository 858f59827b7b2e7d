"""Run folders that the version before the rooms wrote (steps 4 of 6 of a search, 2 of 4 of a training) still open, go on and are reported."""
import tarfile
from pathlib import Path

import pytest

from degas_nb.app.report import run_report
from degas_nb.gan.training import GANTraining, trained_generator
from degas_nb.ground.data import load
from degas_nb.ground.folders import RunFolder
from degas_nb.search.alternating import Search
from degas_nb.search.prune import prune

OLD = Path(__file__).parent/'old_runs'
ENDS = dict(search=(1.5117534399, 9.1255750656), gan=(-.2487089932, 6.7865762711))  # what that version's own last steps said: loss and psnr; wass and gp


@pytest.fixture
def old(tmp_path, request):
    with tarfile.open(OLD/f'{request.param}.tar.xz') as packed: packed.extractall(tmp_path)
    return tmp_path/request.param


@pytest.fixture(scope='module')
def images(): return load('emoji', limit=24, img_size=16)


@pytest.mark.parametrize('old', ['search'], indirect=True)
def test_an_old_search_goes_on_where_it_would_have_gone(old, images):
    search = Search.load(old, images)
    assert search.n == 4 and search.history == RunFolder.open(old).history and search.plan_at(3).lr == 1e-3 and search.plan_at(4).lr == 5e-4
    last = list(search)[-1]
    assert (last.losses['loss'], last.losses['psnr']) == pytest.approx(ENDS['search'], rel=1e-3)
    assert prune(last.weights).edges and search.save(old).load_checkpoint()['step'] == 6


@pytest.mark.parametrize('old', ['gan'], indirect=True)
def test_an_old_training_goes_on_where_it_would_have_gone(old, images):
    training = GANTraining.load(old, images)
    assert training.n == 2 and trained_generator(old).z_dim == training.generator.z_dim
    last = list(training)[-1].critic
    assert (last['wass'], last['gp']) == pytest.approx(ENDS['gan'], rel=1e-3)
    assert training.save(old).load_checkpoint()['step'] == 4


@pytest.mark.parametrize('old', ['search', 'gan'], indirect=True)
def test_an_old_run_is_reported(old):
    run_report(old)
    assert 'emoji' in (old/'report.html').read_text()
