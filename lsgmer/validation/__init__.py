"""The data checks: the rules, the frame they check, and reports. Great Expectations is used here only."""
