"""Japanese information extraction with one language model, and the Mutual Reinforcement Effect.

The package behind the numbered notebooks. Data flows one way:
source item -> Record -> (prompt, target) -> model -> Answer -> score -> figure.
"""

__version__ = "0.1.0"
