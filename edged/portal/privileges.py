"""Giving up everything: the portal reads what hostile subscribers send, so it keeps nothing worth taking.

Started as root (``edged run``), it changes to the account ``edged-portal`` or, where that does not exist, ``nobody``.
Started by the systemd unit it is that account already, and most of this finds nothing to do. Either way the end is
checked in /proc, not assumed.
"""

from __future__ import annotations

import contextlib
import ctypes
import grp
import os
import pwd
import resource
from pathlib import Path

from edged.errors import EdgedError
from edged.portal.link import ACCOUNT

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def drop() -> None:
    """Change the account and give up every capability, for this process and all it starts. Raises EdgedError."""
    try:
        if os.geteuid() == 0:
            uid, gid = _account()
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            for number in range(64):  # while we may: the bounding set is lowered by CAP_SETPCAP only
                _prctl(_PR_CAPBSET_DROP, number)
            os.setresuid(uid, uid, uid)
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
        if any(_capabilities()):
            # no effective, permitted or inheritable ones; two words each
            _libc.capset(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), (ctypes.c_uint32 * 6)())
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _prctl(_PR_SET_DUMPABLE, 0)  # no core file with requests in it, and no other process of `nobody` may look in
    except (OSError, KeyError) as error:
        raise EdgedError(f"the portal cannot give up its privileges: {error}") from error
    if os.geteuid() == 0 or any(_capabilities()):
        raise EdgedError("the portal still has privileges after giving them up; it does not start like this")


def _account() -> tuple[int, int]:
    try:
        user = pwd.getpwnam(ACCOUNT)
    except KeyError:
        user = pwd.getpwnam("nobody")
    with contextlib.suppress(KeyError):
        return user.pw_uid, grp.getgrnam(ACCOUNT).gr_gid
    return user.pw_uid, user.pw_gid


def _capabilities() -> list[int]:
    """The inheritable, permitted, effective and ambient sets of this process."""
    sets = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.startswith("Cap"):
            sets[key] = int(value, 16)
    return [sets[key] for key in ("CapInh", "CapPrm", "CapEff", "CapAmb")]


def _prctl(option: int, argument: int) -> None:
    # a refusal is harmless (EINVAL: no such capability here; EPERM: a sandbox forbids it, and it has less already):
    # what counts is looked up afterwards
    _libc.prctl(option, ctypes.c_ulong(argument), *([ctypes.c_ulong(0)] * 3))


def end_with_parent(number: int) -> None:
    """Get signal ``number`` when the parent process ends, however it ends."""
    _prctl(_PR_SET_PDEATHSIG, number)


def raise_file_limit(reserve: int) -> int:
    """Allow as many descriptors as the hard limit does. Returns how many connections fit beside ``reserve`` others."""
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid even to look
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.suppress(OSError, ValueError):
        return max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - reserve)
    return 512
