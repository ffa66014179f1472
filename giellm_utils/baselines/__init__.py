"""Systems that stand beside the trained model in the tables."""
