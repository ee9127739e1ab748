//! The account files: passwd(5), group(5), shadow(5), subuid(5). Read with tolerance: a line that is damaged never
//! makes the others unreadable, and what is text but not an entry is kept as it stands.

use std::fmt::Write as _;

/// A file of entries, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table<E> {
    /// The entries in their order.
    pub entries: Vec<E>,
    /// Lines that are no entries but text (NIS includes, comments): written back at the end.
    pub foreign: Vec<String>,
    /// How many lines were damaged (zero bytes, no UTF-8) and had to be dropped.
    pub damaged: usize,
}

impl<E> Default for Table<E> {
    fn default() -> Self {
        Self { entries: Vec::new(), foreign: Vec::new(), damaged: 0 }
    }
}

/// One line of an account file.
pub trait Entry: Sized {
    /// Reads the fields of one line.
    fn from_fields(fields: &[&str]) -> Option<Self>;
    /// Writes the line, without the newline.
    fn line(&self) -> String;
    /// The account's name.
    fn name(&self) -> &str;
}

impl<E: Entry> Table<E> {
    /// Reads a file.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut table = Self::default();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match std::str::from_utf8(line) {
                Ok(text) if !text.contains('\0') => {
                    let fields: Vec<&str> = text.split(':').collect();
                    match E::from_fields(&fields) {
                        Some(entry) if !entry.name().is_empty() => table.entries.push(entry),
                        _ => table.foreign.push(text.to_owned()),
                    }
                }
                _ => table.damaged += 1,
            }
        }
        table
    }

    /// The file's text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            text.push_str(&entry.line());
            text.push('\n');
        }
        for line in &self.foreign {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// The first entry of that name, as the C library finds it.
    pub fn get(&self, name: &str) -> Option<&E> {
        self.entries.iter().find(|entry| entry.name() == name)
    }
}

/// passwd(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passwd {
    /// Login name.
    pub name: String,
    /// `x`: the password is in shadow.
    pub password: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// GECOS.
    pub gecos: String,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

impl Entry for Passwd {
    fn from_fields(fields: &[&str]) -> Option<Self> {
        let [name, password, uid, gid, gecos, home, shell] = fields else { return None };
        Some(Self {
            name: (*name).to_owned(),
            password: (*password).to_owned(),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            gecos: (*gecos).to_owned(),
            home: (*home).to_owned(),
            shell: (*shell).to_owned(),
        })
    }

    fn line(&self) -> String {
        let Self { name, password, uid, gid, gecos, home, shell } = self;
        format!("{name}:{password}:{uid}:{gid}:{gecos}:{home}:{shell}")
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// group(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLine {
    /// Group name.
    pub name: String,
    /// `x`.
    pub password: String,
    /// Group id.
    pub gid: u32,
    /// Members beside those whose primary group it is.
    pub members: Vec<String>,
}

impl Entry for GroupLine {
    fn from_fields(fields: &[&str]) -> Option<Self> {
        let [name, password, gid, members] = fields else { return None };
        Some(Self {
            name: (*name).to_owned(),
            password: (*password).to_owned(),
            gid: gid.parse().ok()?,
            members: members.split(',').filter(|member| !member.is_empty()).map(str::to_owned).collect(),
        })
    }

    fn line(&self) -> String {
        format!("{}:{}:{}:{}", self.name, self.password, self.gid, self.members.join(","))
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// shadow(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// Login name.
    pub name: String,
    /// The hash, or `!` and the like.
    pub hash: String,
    /// Ageing and expiry, as they stand.
    pub rest: String,
}

impl Entry for Shadow {
    fn from_fields(fields: &[&str]) -> Option<Self> {
        let [name, hash, rest @ ..] = fields else { return None };
        (rest.len() == 7).then(|| Self {
            name: (*name).to_owned(),
            hash: (*hash).to_owned(),
            rest: rest.join(":"),
        })
    }

    fn line(&self) -> String {
        format!("{}:{}:{}", self.name, self.hash, self.rest)
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// subuid(5) and subgid(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subordinate {
    /// Login name.
    pub name: String,
    /// First id.
    pub start: u32,
    /// How many.
    pub count: u32,
}

impl Entry for Subordinate {
    fn from_fields(fields: &[&str]) -> Option<Self> {
        let [name, start, count] = fields else { return None };
        Some(Self { name: (*name).to_owned(), start: start.parse().ok()?, count: count.parse().ok()? })
    }

    fn line(&self) -> String {
        let mut line = String::new();
        // Writing to a String cannot fail.
        if write!(line, "{}:{}:{}", self.name, self.start, self.count).is_err() {
            line.clear();
        }
        line
    }

    fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_lines_survive_among_damaged_ones() {
        let text = b"root:x:0:0:System administrator:/root:/bin/sh\n\n\0\0\0\0\0\n+::::::\nbad:x:nine:0::/:\nnginx:x:60:60::/:/no\n\xff\xfe:x\nhalf:x:1";
        let table: Table<Passwd> = Table::parse(text);
        assert_eq!(table.entries.iter().map(Entry::name).collect::<Vec<_>>(), ["root", "nginx"]);
        assert_eq!(table.foreign, ["+::::::", "bad:x:nine:0::/:", "half:x:1"]);
        assert_eq!(table.damaged, 2);
        let again: Table<Passwd> = Table::parse(table.render().as_bytes());
        assert_eq!((again.entries, again.foreign), (table.entries, table.foreign));
    }

    #[test]
    fn each_kind_of_line_is_written_as_it_was_read() {
        fn check<E: Entry>(line: &str) {
            let table: Table<E> = Table::parse(line.as_bytes());
            assert_eq!((table.entries.len(), table.render()), (1, format!("{line}\n")));
        }
        check::<GroupLine>("wheel:x:1:alice,bob");
        check::<GroupLine>("empty:x:2:");
        check::<Shadow>("alice:$6$salt$hash:19000:0:99999:7:::");
        check::<Subordinate>("alice:100000:65536");
    }
}
