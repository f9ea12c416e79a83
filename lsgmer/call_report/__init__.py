"""The report of a call: one HTML file that needs no network, with a timeline that can be listened to."""
