"""The catalog: what data owners write. `load_catalog` reads and checks a folder, `catalog_schema` describes it."""
