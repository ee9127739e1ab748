//! A socket's commands (systemd.socket(5)): ExecStartPre= before its sockets are there, ExecStartPost= when they are; ExecStopPre= before
//! they are closed, ExecStopPost= after. They go through a service's phases, which end elsewhere.

use super::unit_state::{Outcome, Phase};
use super::{Effect, Step};
use formats::service_graph::UnitKind;

impl Step<'_, '_> {
    pub(crate) fn is_socket(&self, unit: u32) -> bool {
        self.unit(unit).is_some_and(|unit| unit.kind() == UnitKind::Socket)
    }

    /// The commands of a phase have all run, or there are none.
    pub(crate) fn socket_commands_done(&mut self, unit: u32, phase: Phase) {
        match phase {
            Phase::StartPre => {
                self.set_deadline(unit, None);
                self.arm(unit);
            }
            Phase::StartPost => {
                self.set_deadline(unit, None);
                self.enter(unit, Phase::Armed);
                self.finish_start(unit);
            }
            Phase::Stop => {
                self.emit(Effect::Disarm { unit });
                self.send_stop_signal(unit);
            }
            _ => self.kill_the_rest(unit),
        }
    }

    /// The way down, from wherever the socket is.
    pub(crate) fn socket_begin_stop(&mut self, unit: u32) {
        match self.get(unit).phase {
            Phase::Armed | Phase::Arming | Phase::StartPost => {
                self.with(unit, |state| state.command = 0);
                self.run_commands(unit, Phase::Stop, 0);
            }
            _ => self.send_stop_signal(unit),
        }
    }

    /// A command of the start failed: before there were sockets, nothing is run any more; after, what ends them is.
    pub(crate) fn socket_start_failed(&mut self, unit: u32, outcome: Outcome) {
        self.note(unit, outcome);
        if self.get(unit).phase == Phase::StartPre {
            self.kill_the_rest(unit);
        } else {
            self.socket_begin_stop(unit);
        }
    }
}
