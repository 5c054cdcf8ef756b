"""What the catalog says of a bucket as a whole: expiry, unfinished uploads, encryption, public access."""
