"""What can be wrong with a bundle.

    BundleError
    +-- BundleMissing     no such folder, or no such file in it
    +-- ManifestInvalid   not UTF-8, not JSON, not this format, or it contradicts itself
    +-- FileOutside       a link that leaves the folder, or no plain file
    +-- FileCorrupt       size or sha256 is not what the manifest says
    +-- StateInvalid      the initial state is not what the state spec says
    +-- ParityError       at export: an artefact does not compute what the network computes

Each message says what was expected and what came, and names the file.
"""


class BundleError(Exception):
    """A bundle that cannot be used or made."""


class BundleMissing(BundleError):
    """There is no such folder or file."""


class ManifestInvalid(BundleError):
    """The manifest cannot be read or contradicts itself."""


class FileOutside(BundleError):
    """A file leads out of the folder, or is no plain file."""


class FileCorrupt(BundleError):
    """A file's bytes are not those that were exported."""


class StateInvalid(BundleError):
    """The initial state does not fit the state spec."""


class ParityError(BundleError):
    """An artefact differs from the network by more than is allowed."""
