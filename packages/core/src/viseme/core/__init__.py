"""The shared core of viseme: what all task packages stand on. Import the rooms themselves: `viseme.core.media`, ..."""

__version__ = "0.1.0"
