"""The stages of dvc.yaml, one module each, under the same names."""
