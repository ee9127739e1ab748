//! Firn itself in virtual machines: the road from a configuration to a booted generation, on to the next one and back.
//! Needs the distribution (`make dist`) and a channel (`make channel`); `make vm-test` makes both.

#[cfg(test)]
mod breakage;
#[cfg(test)]
mod control;
#[cfg(test)]
mod distribution;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod install;
#[cfg(test)]
mod medium;
#[cfg(test)]
mod mission;
#[cfg(test)]
mod orphans;
#[cfg(test)]
#[path = "../driver/parts.rs"]
#[expect(dead_code, reason = "the driver's own tests use the rest")]
mod parts;
#[cfg(test)]
mod secure_boot;
#[cfg(test)]
mod semantics;
#[cfg(test)]
mod services;
#[cfg(test)]
mod stage1;
#[cfg(test)]
mod switching;
