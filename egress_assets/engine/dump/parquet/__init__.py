"""Raw dumps as Parquet: which Arrow type holds a column exactly, and how rows come from the server into one object.

`shape` is the leader's and loads no Arrow. The rest is a worker's: only one that reads Parquet loads pyarrow and the
driver (0.2 s of processor time, 60 MB).
"""
