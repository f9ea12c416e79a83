"""Speech in recordings: where somebody speaks, and the words."""
