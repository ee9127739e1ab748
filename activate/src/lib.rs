//! From a generation to a running system: /etc, users, wrappers, tmpfiles, the switch plan.
