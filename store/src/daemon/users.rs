//! What a user may have of the daemon at a time: connections (`user-connections-max`, 256) and builds on this machine
//! (`user-builds-max`, no limit). Whom the settings trust is not limited: they could do anything anyway.

use crate::build::Room;
use crate::nix_settings::NixSettings;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Enough for builds that start builds, and too few to take the machine's memory with threads that wait.
const CONNECTIONS: u64 = 256;

/// Who is connected.
#[derive(Debug, Default)]
pub(super) struct Users(Mutex<BTreeMap<u32, User>>);

#[derive(Debug, Default)]
struct User {
    connections: u64,
    /// All connections' builds take place here.
    room: Option<Arc<Room>>,
}

/// A user's connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Visit {
    users: Arc<Users>,
    uid: u32,
    pub(super) room: Option<Arc<Room>>,
}

impl Users {
    /// Lets a user in, unless there are too many connections already: then the limit.
    pub(super) fn admit(self: &Arc<Self>, uid: u32, settings: &NixSettings) -> Result<Visit, u64> {
        let connections = settings.number("user-connections-max").unwrap_or(CONNECTIONS);
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let user = users.entry(uid).or_default();
        if user.connections >= connections {
            if user.connections == 0 {
                users.remove(&uid);
            }
            return Err(connections);
        }
        user.connections += 1;
        if user.room.is_none() {
            let builds = settings.number("user-builds-max").filter(|builds| *builds > 0);
            user.room = builds.map(|builds| Arc::new(Room::new(builds as usize)));
        }
        Ok(Visit { users: Arc::clone(self), uid, room: user.room.clone() })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut users = self.users.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = users.get_mut(&self.uid) {
            user.connections = user.connections.saturating_sub(1);
            if user.connections == 0 {
                users.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_limits_and_nobody_is_remembered() {
        let users = Arc::new(Users::default());
        let mut settings = NixSettings::default();
        settings.set("user-connections-max", "2");
        settings.set("user-builds-max", "3");
        let visits: Vec<_> = (0..2).map(|_| users.admit(1000, &settings).unwrap()).collect();
        assert_eq!(users.admit(1000, &settings).unwrap_err(), 2);
        let other = users.admit(1001, &settings).unwrap();
        let rooms: Vec<_> = visits.iter().filter_map(|visit| visit.room.clone()).collect();
        assert!(Arc::ptr_eq(&rooms[0], &rooms[1]), "connections of a user share their room");
        assert!(!Arc::ptr_eq(&rooms[0], other.room.as_ref().unwrap()), "users do not");
        drop((visits, other));
        assert!(users.0.lock().unwrap().is_empty());
        assert!(users.admit(1000, &NixSettings::default()).unwrap().room.is_none());
    }
}
