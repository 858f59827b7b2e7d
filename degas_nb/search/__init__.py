"""Search: from the pyramid to the network that is found."""
from .. import _moved

__getattr__ = _moved('search', 'search.alternating search.steps', {  # for one version: names of the time when this was a module
    'AMP', 'OPTIMISERS', 'Search', 'SearchConfig', 'SearchStep', 'plain_settings', 'search_settings'})
