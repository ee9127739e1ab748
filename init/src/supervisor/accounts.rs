//! Users and groups by /etc/passwd and /etc/group (passwd(5), group(5)), read when needed: a static program has no NSS.

/// One user as services need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The login name.
    pub name: String,
    /// Its id.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Its home.
    pub home: String,
    /// Its shell.
    pub shell: String,
}

/// The user of that name or number.
pub fn user(name: &str) -> Option<Account> {
    find_user(&std::fs::read_to_string("/etc/passwd").ok()?, name)
}

/// The id of the group of that name or number.
pub fn group(name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let text = std::fs::read_to_string("/etc/group").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

/// The ids of every group that lists the user.
pub fn groups_of(name: &str) -> Vec<u32> {
    let text = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let lists = |line: &&str| {
        line.split(':').nth(3).is_some_and(|members| members.split(',').any(|member| member == name))
    };
    text.lines().filter(lists).filter_map(|line| line.split(':').nth(2)?.parse().ok()).collect()
}

fn find_user(text: &str, wanted: &str) -> Option<Account> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid: u32 = fields.nth(1)?.parse().ok()?;
        if name != wanted && wanted.parse() != Ok(uid) {
            return None;
        }
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1)?.to_owned();
        Some(Account { name: name.to_owned(), uid, gid, home, shell: fields.next().unwrap_or("").to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_by_name_and_number() {
        let text = "root:x:0:0:root:/root:/bin/bash\nbroken\nnginx:x:60:61::/var/empty:/bin/false\n";
        let nginx = find_user(text, "nginx").unwrap();
        assert_eq!((nginx.uid, nginx.gid, nginx.home.as_str()), (60, 61, "/var/empty"));
        assert_eq!(find_user(text, "60"), Some(nginx));
        assert_eq!(find_user(text, "nobody"), None);
    }
}
