//! Unit definitions (from modules, from packages' unit files) to a checked service graph.
