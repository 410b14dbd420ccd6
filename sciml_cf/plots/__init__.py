"""Figures of histories, evaluations and fields: those that the reports show, on axes of your own too."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
