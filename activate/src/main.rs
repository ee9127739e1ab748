//! firn-activate
fn main() {}
