"""The stages of dvc.yaml, file for file."""
