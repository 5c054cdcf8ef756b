"""Release certificates: a signed statement of what a scrub made and what its gate found, checked offline by anybody."""
