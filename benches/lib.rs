//! Measurements, each a program of its own run by a target of the Makefile: they print tables of ratios and counts, and
//! judge nothing; what must hold is a test.
