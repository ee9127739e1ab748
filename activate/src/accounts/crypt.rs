//! crypt(5)'s method `$6$` (SHA512-crypt, U. Drepper's "Unix crypt using SHA-256 and SHA-512", 2007): for passwords that
//! the configuration gives in clear text. Hashes made elsewhere (yescrypt …) pass through untouched.

use sha2::{Digest as _, Sha512};

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const DEFAULT_ROUNDS: u32 = 5000;
const MAX_SALT: usize = 16;

/// Hashes a password with a salt made from these random bytes.
pub fn hash(password: &str, random: [u8; 12]) -> String {
    let mut salt = String::new();
    for group in random.chunks(3) {
        let value = group.iter().fold(0u32, |value, byte| (value << 8) | u32::from(*byte));
        push_base64(&mut salt, value, 4);
    }
    format!("$6${salt}${}", digest(password.as_bytes(), salt.as_bytes(), DEFAULT_ROUNDS))
}

/// Whether a `$6$` hash is of this password. Hashes of other methods: no.
pub fn verify(password: &str, hashed: &str) -> bool {
    let Some(rest) = hashed.strip_prefix("$6$") else { return false };
    let (rounds, rest) = match rest.strip_prefix("rounds=").and_then(|rest| rest.split_once('$')) {
        Some((number, rest)) => match number.parse::<u32>() {
            Ok(rounds) => (rounds.clamp(1000, 999_999_999), rest),
            Err(_) => return false,
        },
        None => (DEFAULT_ROUNDS, rest),
    };
    let Some((salt, expected)) = rest.split_once('$') else { return false };
    let salt = salt.as_bytes().get(..MAX_SALT).unwrap_or(salt.as_bytes());
    digest(password.as_bytes(), salt, rounds) == expected
}

/// The digest in crypt's base 64.
fn digest(key: &[u8], salt: &[u8], rounds: u32) -> String {
    let alternate = Sha512::new().chain_update(key).chain_update(salt).chain_update(key).finalize();
    let mut first = Sha512::new().chain_update(key).chain_update(salt);
    first.update(cycled(&alternate, key.len()));
    let mut bits = key.len();
    while bits > 0 {
        if bits & 1 == 1 {
            first.update(alternate);
        } else {
            first.update(key);
        }
        bits >>= 1;
    }
    let mut state = first.finalize();

    let mut keys = Sha512::new();
    for _ in 0..key.len() {
        keys.update(key);
    }
    let keys = cycled(&keys.finalize(), key.len());
    let mut salts = Sha512::new();
    for _ in 0..16 + usize::from(state[0]) {
        salts.update(salt);
    }
    let salts = cycled(&salts.finalize(), salt.len());

    for round in 0..rounds {
        let mut next = Sha512::new();
        if round & 1 == 1 {
            next.update(&keys);
        } else {
            next.update(state);
        }
        if round % 3 != 0 {
            next.update(&salts);
        }
        if round % 7 != 0 {
            next.update(&keys);
        }
        if round & 1 == 1 {
            next.update(state);
        } else {
            next.update(&keys);
        }
        state = next.finalize();
    }

    let mut text = String::with_capacity(86);
    // Bytes i, i+21, i+42 go together; which comes first turns by one at each step.
    for step in 0..21usize {
        let triple = [step, step + 21, step + 42];
        let [high, middle, low] = [triple[step % 3], triple[(step + 1) % 3], triple[(step + 2) % 3]];
        let value = u32::from(state[high]) << 16 | u32::from(state[middle]) << 8 | u32::from(state[low]);
        push_base64(&mut text, value, 4);
    }
    push_base64(&mut text, u32::from(state[63]), 2);
    text
}

/// The bytes repeated to this length.
fn cycled(bytes: &[u8], length: usize) -> Vec<u8> {
    bytes.iter().copied().cycle().take(length).collect()
}

/// Appends `count` characters, lowest six bits first.
fn push_base64(text: &mut String, mut value: u32, count: usize) {
    for _ in 0..count {
        text.push(char::from(ALPHABET[(value & 0x3f) as usize]));
        value >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_the_specification_and_of_openssl() {
        for (password, hashed) in [
            (
                "Hello world!",
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            ),
            (
                "Hello world!",
                "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.",
            ),
            (
                "pässword of some length longer than sixty-four bytes, so that the block loop is run twice",
                "$6$saltstringsaltst$JZQuNeRxuPoccMru5vNziV49MOyhuqxAaimYYY9A4jZGdUJPobA.3UQcjuQcBRtaNYkERozjf4cPs1iIJ7XPB0",
            ),
        ] {
            assert!(verify(password, hashed), "{hashed}");
            assert!(!verify("hello world!", hashed));
        }
    }

    #[test]
    fn own_hashes_verify_and_others_do_not() {
        let hashed = hash("geheim", *b"twelve bytes");
        assert!(verify("geheim", &hashed) && !verify("Geheim", &hashed));
        for other in ["", "!", "$6$", "$6$x", "$y$j9T$x$y", "$6$rounds=x$s$h"] {
            assert!(!verify("geheim", other));
        }
        assert!(verify("", &hash("", [0; 12])));
    }
}
