//! Pure data formats, one module each: no I/O, no unsafe. Each module's head cites its specification.
