//! The journal's own datagrams (systemd's "Native Journal Protocol"): fields `NAME=value` a line, or `NAME`, a line end, the
//! value's length as a little-endian 64-bit number, the value, a line end.

/// The fields of a datagram that a client may set, in order. What is damaged ends the list.
pub(super) fn parse(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() && fields.len() < 256 {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let line = bytes.get(..end).unwrap_or_default();
        let rest = bytes.get(end + 1..).unwrap_or_default();
        let (name, value) = match line.iter().position(|byte| *byte == b'=') {
            Some(at) => {
                bytes = rest;
                (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default())
            }
            None if line.is_empty() => {
                bytes = rest;
                continue;
            }
            None => {
                let Some((length, tail)) = rest.split_first_chunk::<8>() else { break };
                let Ok(length) = usize::try_from(u64::from_le_bytes(*length)) else { break };
                let Some((value, tail)) = tail.split_at_checked(length) else { break };
                bytes = tail.get(1..).unwrap_or_default();
                (line, value)
            }
        };
        if is_allowed(name) {
            fields.push((String::from_utf8_lossy(name).into_owned(), value.to_vec()));
        }
    }
    fields
}

/// Names that a client may use: those with an underscore in front are the collector's to say.
fn is_allowed(name: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    (1..=64).contains(&name.len())
        && name.iter().all(fits)
        && name.first().is_some_and(u8::is_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> Vec<String> {
        let show = |(name, value): (String, Vec<u8>)| format!("{name}={}", String::from_utf8_lossy(&value));
        parse(bytes).into_iter().map(show).collect()
    }

    #[test]
    fn fields_are_read() {
        let mut bytes = b"MESSAGE=hello\nPRIORITY=3\n\n_PID=1\nlower=x\nBINARY\n".to_vec();
        bytes.extend(5_u64.to_le_bytes());
        bytes.extend(b"a\nb=c\nLAST=no end");
        assert_eq!(shown(&bytes), ["MESSAGE=hello", "PRIORITY=3", "BINARY=a\nb=c", "LAST=no end"]);
    }

    #[test]
    fn lies_end_the_list() {
        for length in [u64::MAX, 1 << 40, 3] {
            let mut bytes = b"A=1\nB\n".to_vec();
            bytes.extend(length.to_le_bytes());
            bytes.extend(b"x\n");
            assert_eq!(shown(&bytes), ["A=1"], "{length}");
        }
        assert_eq!(shown(b"A=1\nB\nshort"), ["A=1"]);
        assert_eq!(shown(b"=x\n==\n"), [""; 0]);
    }
}
