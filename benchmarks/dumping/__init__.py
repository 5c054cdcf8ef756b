"""Parts of benchmarks/dump.py: servers, tables, ourselves, the others."""
