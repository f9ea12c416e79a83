"""Studies: cross-validation and ablations under protocols that cannot leak, and the report of what they found."""
