"""Packaging (build) and serving (service) of a trained model as a Bento."""
