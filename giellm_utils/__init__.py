"""Japanese information extraction with one language model, and the Mutual Reinforcement Effect.

The package behind the numbered notebooks. Data flows one way:
source item -> Record -> (prompt, target) -> model -> Answer -> score -> figure.
"""

import os

# PyTorch then asks Linux for large tensors in huge pages: a tenth more speed on a CPU (LOG.md). It reads this
# once, when it is loaded; 0 turns it off.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__version__ = "0.1.0"
