"""The other side of WeChat Pay APIv3, of CloudBase's Integration Center and of its API gateway, on loopback.

It signs, encrypts, verifies and calls back for real, misbehaves on request, and imports none of the function.
"""

from sandbox.core import Sandbox
from sandbox.credentials import Credentials

__all__ = ["Credentials", "Sandbox"]
