"""The thin package behind the Cascade Liver CT notebooks: one module, one subject."""

__version__ = "0.1.0"
