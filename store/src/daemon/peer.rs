//! Who a client is, by what the kernel says of its socket, and whether a list such as `trusted-users` names it. Reads
//! passwd(5) and group(5) themselves: static programs have no NSS.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;

/// A client's user.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) uid: u32,
    /// Its name, if it has one.
    pub(super) name: Option<String>,
    groups: BTreeSet<String>,
}

impl Peer {
    /// The user at the other end.
    pub(super) fn of(client: &UnixStream) -> Option<Self> {
        let peer = rustix::net::sockopt::socket_peercred(client).ok()?;
        let (users, groups) = (read("/etc/passwd"), read("/etc/group"));
        Some(Self::from_files(peer.uid.as_raw(), peer.gid.as_raw(), &users, &groups))
    }

    fn from_files(uid: u32, gid: u32, users: &str, groups: &str) -> Self {
        let name = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        });
        let mut own = BTreeSet::new();
        for line in groups.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let [group, _, number, members] = fields.as_slice() else { continue };
            let is_member =
                name.as_deref().is_some_and(|name| members.split(',').any(|member| member == name));
            if number.parse() == Ok(gid) || is_member {
                own.insert((*group).to_owned());
            }
        }
        Self { uid, name, groups: own }
    }

    /// What to call the user.
    pub(super) fn text(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uid.to_string())
    }

    /// Whether a list names the user: by its name, by `@` and one of its groups, or by `*`.
    pub(super) fn is_in(&self, list: &[String]) -> bool {
        list.iter().any(|word| match word.strip_prefix('@') {
            Some(group) => self.groups.contains(group),
            None => word == "*" || self.name.as_ref() == Some(word),
        })
    }
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_name_users_and_groups() {
        let users = "root:x:0:0::/root:/bin/sh\nanna:x:1000:100::/home/anna:/bin/sh\n";
        let groups = "root:x:0:\nusers:x:100:\nwheel:x:10:bert,anna\n";
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let anna = Peer::from_files(1000, 100, users, groups);
        for yes in ["anna", "@wheel", "@users", "*"] {
            assert!(anna.is_in(&list(&["root", yes])), "{yes}");
        }
        for no in ["root", "@root", "wheel", "@anna", ""] {
            assert!(!anna.is_in(&list(&[no])), "{no}");
        }
        let nobody = Peer::from_files(4242, 4242, users, groups);
        assert!(!nobody.is_in(&list(&["anna", "@wheel", ""])));
    }
}
