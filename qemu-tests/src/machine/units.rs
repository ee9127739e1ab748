//! Units of a guest whose PID 1 speaks Firn's control protocol ([`formats::control`]): their states, waits that end
//! when PID 1 says so, and jobs.

use formats::control::{ActiveState, Message as _, Reply, Request, SOCKET, Shutdown, UnitStatus, Verb};

use super::Machine;
use crate::error::{Error, Result};

impl Machine {
    /// The states of all units.
    pub fn units(&self) -> Result<Vec<UnitStatus>> {
        match self.control("the units", &Request::List)? {
            Reply::Units(units) => Ok(units),
            other => Err(self.odd("the units", &other)),
        }
    }

    /// The state of one unit.
    pub fn unit(&self, unit: &str) -> Result<UnitStatus> {
        let what = format!("the state of {unit}");
        match self.control(&what, &Request::Status { unit: unit.to_owned() })? {
            Reply::Units(units) => {
                let first = units.into_iter().next();
                first.ok_or_else(|| self.wrong(format!("PID 1 knows no unit {unit}")))
            }
            other => Err(self.odd(&what, &other)),
        }
    }

    /// Waits until a unit is active; an error as soon as it has failed.
    pub fn wait_for_unit(&self, unit: &str) -> Result<UnitStatus> {
        self.wait_for_unit_state(unit, ActiveState::Active)
    }

    /// Waits until a unit is in a state; an error as soon as it cannot get there.
    pub fn wait_for_unit_state(&self, unit: &str, state: ActiveState) -> Result<UnitStatus> {
        let what = format!("{unit} to be {}", state.word());
        // PID 1 begins to listen before it starts units; who comes earlier waits for that.
        self.wait_for_file(SOCKET)?;
        let timeout = u32::try_from(self.limit().as_millis()).unwrap_or(u32::MAX);
        match self.control(&what, &Request::Wait { unit: unit.to_owned(), state, timeout })? {
            Reply::Units(units) => match units.into_iter().next() {
                Some(status) if status.active == state => Ok(status),
                Some(status) => Err(self.refused_by_pid_1(
                    &what,
                    &format!("it is {} ({}), result {}", status.active.word(), status.sub, status.result),
                )),
                None => Err(self.refused_by_pid_1(&what, "it does not exist")),
            },
            Reply::Refused { reason } => Err(self.refused_by_pid_1(&what, &reason)),
            other => Err(self.odd(&what, &other)),
        }
    }

    /// Starts, stops, restarts or reloads a unit, and waits for the end of that.
    pub fn job(&self, verb: Verb, unit: &str) -> Result<()> {
        let what = format!("{verb:?} {unit}");
        match self.control(&what, &Request::Job { verb, unit: unit.to_owned(), wait: true })? {
            Reply::Done { result } if result == "done" => Ok(()),
            Reply::Done { result } => {
                Err(self.refused_by_pid_1(&what, &format!("the job's result is {result}")))
            }
            Reply::Refused { reason } => Err(self.refused_by_pid_1(&what, &reason)),
            other => Err(self.odd(&what, &other)),
        }
    }

    /// Asks PID 1 to power off or to reboot in order, and waits until it has done so.
    pub fn shut_down(&self, how: Shutdown) -> Result<()> {
        // Connecting waits for the agent, so what was reset before is over.
        let mut stream = self.connect(SOCKET)?;
        let sent = Request::Shutdown { how }.send(&mut stream);
        sent.map_err(|e| self.refused_by_pid_1("the end", &e.to_string()))?;
        if how == Shutdown::Reboot { self.wait_for_reset() } else { self.wait_for_shutdown() }
    }

    /// One question to PID 1.
    fn control(&self, what: &str, request: &Request) -> Result<Reply> {
        let mut stream = self.connect(SOCKET)?;
        let answer = request.send(&mut stream).and_then(|()| {
            loop {
                match Reply::receive(&mut stream)? {
                    Some(reply) if reply.is_last() => return Ok(reply),
                    Some(_) => {}
                    None => {
                        return Err(std::io::Error::other("PID 1 closed the connection without an answer"));
                    }
                }
            }
        });
        answer.map_err(|e| self.refused_by_pid_1(what, &e.to_string()))
    }

    fn refused_by_pid_1(&self, what: &str, why: &str) -> Error {
        let message =
            format!("{why}{}", self.console().map(|console| console.tail().to_string()).unwrap_or_default());
        Error::Agent { machine: self.name().to_owned(), request: what.to_owned(), errno: 0, message }
    }

    fn odd(&self, what: &str, reply: &Reply) -> Error {
        self.refused_by_pid_1(what, &format!("PID 1 answered {reply:?}"))
    }
}
