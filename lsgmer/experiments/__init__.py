"""Studies: cross-validation and ablations under declared split protocols, and the report of their results."""
