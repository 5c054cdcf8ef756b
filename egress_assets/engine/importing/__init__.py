"""Catalogs out of what other systems were configured with. A module a system; `reading` and `writing` serve all."""
