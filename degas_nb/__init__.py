"""Search a GAN generator by gradient descent (DEGAS). The names that everybody needs; each is imported when it is first touched."""
from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOME = dict(
    load='ground.data', Images='ground.data',
    Search='search.alternating', SearchConfig='search.alternating', prune='search.prune',
    Genotype='space.genotype', Generator='space.generator',
    GANTraining='gan.training', GANConfig='gan.training',
    score_images='judge.metrics',
    live='views.live', replay='views.replay')  # name -> the module that it lives in
__all__ = [*_HOME]

if TYPE_CHECKING:
    from .gan.training import GANConfig as GANConfig, GANTraining as GANTraining
    from .ground.data import Images as Images, load as load
    from .judge.metrics import score_images as score_images
    from .search.alternating import Search as Search, SearchConfig as SearchConfig
    from .search.prune import prune as prune
    from .space.generator import Generator as Generator
    from .space.genotype import Genotype as Genotype
    from .views.live import live as live
    from .views.replay import replay as replay


def __getattr__(name:str)->object:
    "Fetch a name from its module, once."
    if name not in _HOME: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f'.{_HOME[name]}', __name__), name)
    return value


def __dir__()->list[str]: return sorted({*globals(), *__all__})
