"""A scripted store under the real verbs: what may happen to them, and what must hold whatever happens."""
