"""The scrub stage: masks in the source's own SELECT, a gate over the complete output, then the pointer."""
