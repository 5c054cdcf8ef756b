"""Evidence: what is true, who said so, and what was delivered.

The verbs (materialise, sweep, read, deliver, append to the ledger) are generators of store requests and do no I/O;
`driver.Evidence` performs their requests over a Store. A test performs them over a scripted store instead, interleaves
several, kills them at any step and loses or delays what they write: see tests/conformance/test_protocol.py.
This package is the only code that writes evidence.
"""
