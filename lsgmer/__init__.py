"""lsgmer: retrain, gate, package, serve and audit a label-guided speech + text emotion model."""

__version__ = "0.1.0"
