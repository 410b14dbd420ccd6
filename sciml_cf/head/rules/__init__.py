"""Rules: how a head follows from the moments of a batch and the state it carries. One file a rule.

A file ``NAME.py`` here defines a frozen dataclass on ``Rule`` that is called like the file (``per_feature.py``:
``PerFeature``). It is found by its name, "per-feature", see ``sciml_cf.head.registry``; nothing else has to change.
What rules share is in ``common``; rules that wrap another one, and have no name, are in ``wrappers``.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
