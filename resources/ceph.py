"""A bucket of Ceph's RADOS Gateway as a resource: an S3 store whose dialect the engine knows by its kind."""

from resources.s3 import S3Resource


class CephResource(S3Resource):
    """One store of kind `ceph`."""

    kind: str = "ceph"
