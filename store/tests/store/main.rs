//! The store from outside: builds in the sandbox, faults of every kind, taking turns with the real Nix.

#[cfg(test)]
mod builds;
#[cfg(test)]
mod caches;
mod cgroups;
#[cfg(test)]
mod cve;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod elsewhere;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod rebuild;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod traced;
#[cfg(test)]
mod turns;
#[cfg(test)]
mod user_limits;
