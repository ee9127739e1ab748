//! Identifiers that never come twice, without waiting for the kernel's random pool (getrandom(2)).

/// Random identifiers of 128 bits as 32 hexadecimal digits, with the version and variant bits of a UUID of version 4, as
/// systemd's invocation ids have them. Unique, not secret: one draw from the kernel is stretched, because each draw
/// is dear while the pool is not ready, and that is when most services start.
#[derive(Debug)]
pub struct Identifiers {
    state: u128,
}

impl Identifiers {
    /// Begins at a random place.
    pub fn new() -> Self {
        let mut bytes = [0_u8; 16];
        // SAFETY: the buffer is live and of the length given. What the kernel leaves undrawn stays zero.
        unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_INSECURE) };
        // Two machines of one image may draw the same this early, but not at the same time.
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { state: u128::from_ne_bytes(bytes) ^ time.as_nanos() }
    }

    /// The next one.
    pub fn draw(&mut self) -> String {
        // A linear congruential generator of full period, its state stirred so that neighbours do not look alike.
        self.state = self.state.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
        let mut number = self.state;
        number = (number ^ number >> 67).wrapping_mul(0xda94_2042_e4dd_58b5_da94_2042_e4dd_58b5);
        number ^= number >> 71;
        number = number & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        format!("{number:032x}")
    }
}

impl Default for Identifiers {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Identifiers;
    use std::collections::BTreeSet;

    #[test]
    fn identifiers_are_of_version_4_and_differ() {
        let (mut one, mut other) = (Identifiers::new(), Identifiers::new());
        let all: Vec<String> = (0..1000).flat_map(|_| [one.draw(), other.draw()]).collect();
        for id in &all {
            assert_eq!((id.len(), id.as_bytes().get(12)), (32, Some(&b'4')));
            assert!(id.as_bytes().get(16).is_some_and(|digit| b"89ab".contains(digit)));
        }
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }
}
