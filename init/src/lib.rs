//! Stage 1, PID 1 and the supervisor: one static binary that neither parses unit files nor panics.
//!
//! [`stage1`] runs in the initrd: modules, devices, mounts, switch_root. [`pid1`] is the machine's process 1 afterwards: it
//! mounts, reaps and holds what must not die. [`supervisor`] is its child and does the thinking; it may die and come back.

pub mod best_effort;
pub mod block_device;
pub mod channel;
pub mod console;
pub mod glob;
pub mod hand_over;
pub mod kernel_command_line;
pub mod log_collector;
pub mod mounting;
pub mod pid1;
pub mod power_button;
mod sorted_map;
pub mod stage1;
pub mod supervisor;
pub mod uevent;
