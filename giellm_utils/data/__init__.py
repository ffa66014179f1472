"""Datasets: from a source item to a checked Record, and what is known of them."""
