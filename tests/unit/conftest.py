"""Unit tests are for every save: 1.5 s, and as much for pytest. `make test` tries many more examples a property."""

from __future__ import annotations

import gc

from hypothesis import Phase, settings

SAVE = {"max_examples": 8, "deadline": None, "derandomize": True, "database": None, "phases": [Phase.generate]}
settings.register_profile("save", **SAVE)
settings.register_profile("thorough", max_examples=200, deadline=None, print_blob=True)
settings.load_profile("save")  # `--hypothesis-profile=thorough` wins
gc.disable()  # a run of seconds: collecting costs a fifth of it
