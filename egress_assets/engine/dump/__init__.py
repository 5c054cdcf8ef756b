"""Tables of a Postgres database, read in one snapshot."""
