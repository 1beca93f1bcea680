"""Every error that the store raises, one class per cause, under one base.

A message says what was tried, on what, and what to do now. Errors of the engines below (the
operating system, LMDB, the codecs) are translated once, where they arise, `from` their cause.
"""


class StoreError(Exception):
    """The base of everything that the store raises on purpose."""


# --- the place -----------------------------------------------------------------------------


class LocationError(StoreError):
    """The store's folder cannot be used as asked."""


class StoreNotFound(LocationError):
    """There is no store at this path, and it was not to be created."""


class NotAStore(LocationError):
    """Something else lies at this path."""


class FormatTooNew(LocationError):
    """The store was written by a later version, in a format that this one does not know."""


class UnsupportedFilesystem(LocationError):
    """The index cannot be kept safely on this kind of filesystem."""


class ForeignNamespace(LocationError):
    """Processes of another PID namespace (a container, say) have the store open."""


class ReadOnlyStore(LocationError):
    """A write was asked of a store that was opened, or lies, read-only."""


class AccessDenied(LocationError):
    """The operating system refuses this user a file of the store."""


# --- its life ------------------------------------------------------------------------------


class StoreClosed(StoreError):
    """The store, or the run or batch within it, has been closed."""


class ForkedStore(StoreError):
    """A store that was opened before a fork was used in the child."""


class StoreBusy(StoreError):
    """Another process holds a lock that this call needs."""


class DiskFull(StoreError):
    """No space, quota or address space is left for what was to be written."""


class StorageFailed(StoreError):
    """The operating system reported an input or output error."""


# --- what is not there ---------------------------------------------------------------------


class NotFound(StoreError):
    """What was asked for is not in the store."""


class BlobNotFound(NotFound):
    """No blob of this digest is in the store."""


class BlobVanished(NotFound):
    """A blob that a record names is gone: compute it again, then commit the record."""


class RecordNotFound(NotFound):
    """No record of this digest, or for this key, is in the store."""


class RunNotFound(NotFound):
    """No such run."""


class PinNotFound(NotFound):
    """No pin of this name."""


class AmbiguousPrefix(StoreError):
    """Several digests begin with this prefix."""


# --- damage --------------------------------------------------------------------------------


class Damaged(StoreError):
    """Stored bytes are not what was stored. `verify` says how far it goes, `repair` mends it."""


class FrameDamaged(Damaged):
    """A frame of a pack, or what a codec made of it, does not check."""


class BlobDamaged(Damaged):
    """The bytes of a blob do not give its digest."""


class RecordDamaged(Damaged):
    """A stored record cannot be decoded."""


class ObjectDamaged(Damaged):
    """A stored object cannot be decoded, though its bytes are those that were stored."""


class IndexDamaged(Damaged):
    """An entry of the index does not check; the index can be rebuilt from the packs."""


class UnknownCodec(StoreError):
    """A frame names a codec that this version does not know."""


class UnknownEncoding(StoreError):
    """An object names an encoding that this version does not know."""


class PickleRefused(StoreError):
    """An object is a pickle, which can run code, and the caller does not trust its source."""


# --- sharing -------------------------------------------------------------------------------


class RemoteError(StoreError):
    """Something is wrong with a remote: whoever can do without it does."""


class RemoteUnavailable(RemoteError):
    """A remote does not answer, or not in time, or with an error of its own."""


class RemoteDenied(RemoteError):
    """A remote refuses these credentials, or has none to go by."""


class RemoteFull(RemoteError):
    """A remote has no space left, or no quota."""


class RemoteReadOnly(RemoteError):
    """This kind of remote can only be read."""


class RemoteDamaged(RemoteError):
    """What lies on a remote is not what was put there."""


class ObjectMissing(RemoteError, NotFound):
    """No object of this key is on the remote."""


class ObjectExists(RemoteError):
    """An object of this key was to be created, and is there already."""


class NotARemote(RemoteError):
    """No remote of ours lies at this address."""


class ForeignRemote(RemoteError):
    """Another remote lies at this address than the one that was pinned."""


class RemoteNotFound(RemoteError, NotFound):
    """No remote of this name was added."""


class ClaimRefused(RemoteError):
    """A signed object of a remote cannot be believed. The message says why."""


class TrustError(StoreError):
    """The user's keys or the list of trusted ones cannot be used as asked."""


class KeyMissing(TrustError):
    """Something is to be signed, and this user has no key."""


class InvalidKey(TrustError):
    """Not a public key as `druse trust show` prints it."""


# --- what was asked ------------------------------------------------------------------------


class InvalidInput(StoreError):
    """An argument is not what the call takes."""


class InvalidDigest(InvalidInput):
    """Not a digest, nor a usable prefix of one."""


class InvalidName(InvalidInput):
    """A name of an experiment, run, condition or pin that cannot be used."""


class InvalidRecord(InvalidInput):
    """A record that cannot be stored: its fields do not fit together, or are not plain data."""


class InvalidPolicy(InvalidInput):
    """A rule of retention that does not exist, or says what cannot be."""


class Unserialisable(InvalidInput):
    """An object that no encoding can store."""


class EngineMissing(StoreError):
    """A package that this operation needs is not installed, or not in its compiled form."""
