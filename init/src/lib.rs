//! Stage 1, PID 1 and the supervisor: one static binary that neither parses unit files nor panics.
