//! What derivations run: unpack and relocate packages, compile service graphs, write initrds and images.
