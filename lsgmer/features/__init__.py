"""The feature store and padded batches of it."""
