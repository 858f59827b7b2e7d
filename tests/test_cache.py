"""What is kept for the next start: where, for how long, and that it never is wrong."""
import warnings

import pytest

from degas_nb.data import cache_folder


@pytest.mark.parametrize('home', ['', 'relative', '/proc/nobody', '/dev/null'])
def test_without_a_place_nothing_is_kept_and_it_is_said(home, monkeypatch):
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setenv('HOME', home)
    with pytest.warns(UserWarning, match='XDG_CACHE_HOME'): assert cache_folder() is None


def test_the_place_is_the_one_that_the_system_names(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path/'me'))
    for chosen in ('', 'relative/folder'):                                       # the standard: a relative one counts for nothing
        monkeypatch.setenv('XDG_CACHE_HOME', chosen)
        assert cache_folder() == tmp_path/'me'/'.cache'/'degas_nb'
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'x'))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert cache_folder() == tmp_path/'x'/'degas_nb' and cache_folder().is_dir()
