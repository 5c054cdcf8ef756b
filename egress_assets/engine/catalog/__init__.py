"""The catalog: what data owners write. loader.py reads and checks a folder, schema.py describes it to editors."""
