//! Frames of the agent protocol: framing, checksums, and finding the next frame in a damaged stream.
//!
//! Pure: bytes in, frames out. The layout is at the head of [`crate::protocol`].

/// First bytes of every frame: not ASCII, not UTF-8, unlikely in a console's text.
pub const MAGIC: [u8; 4] = [0xF1, b'V', b'M', b'\n'];

/// Bytes of payload in one frame. Longer data is cut by the sender.
pub const MAX_PAYLOAD: usize = 32 * 1024;

const HEADER: usize = 20;
const TRAILER: usize = 4;

/// Zero bytes said before a handshake: as many as the longest frame.
pub const PADDING: usize = HEADER + MAX_PAYLOAD + TRAILER;

/// One message on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Which message; see [`crate::protocol::message`].
    pub kind: u8,
    /// The request it belongs to; 0 for the handshake.
    pub request: u32,
    /// At most [`MAX_PAYLOAD`] bytes.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The frame as bytes; `None` when the payload is too long for one frame.
    pub fn encode(&self) -> Option<Vec<u8>> {
        if self.payload.len() > MAX_PAYLOAD {
            return None;
        }
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len() + TRAILER);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[self.kind, 0, 0, 0]);
        bytes.extend_from_slice(&self.request.to_le_bytes());
        bytes.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&crc32(&bytes).to_le_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes.extend_from_slice(&crc32(&self.payload).to_le_bytes());
        Some(bytes)
    }
}

/// Finds frames in a stream of bytes that may begin, break off and go on anywhere.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    skipped: u64,
}

enum Step {
    Frame(Frame, usize),
    Skip,
    NeedMore,
}

impl Decoder {
    /// Adds bytes that were read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start >= self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if the bytes so far hold one. Bytes that belong to none are dropped and counted.
    pub fn next_frame(&mut self) -> Option<Frame> {
        loop {
            match parse(self.buffer.get(self.start..).unwrap_or_default()) {
                Step::Frame(frame, length) => {
                    self.start += length;
                    return Some(frame);
                }
                Step::Skip => {
                    self.start += 1;
                    self.skipped += 1;
                }
                Step::NeedMore => return None,
            }
        }
    }

    /// How many bytes were dropped because they belonged to no frame (padding included).
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

fn parse(bytes: &[u8]) -> Step {
    let seen = bytes.len().min(MAGIC.len());
    if bytes.get(..seen) != MAGIC.get(..seen) {
        return Step::Skip;
    }
    let Some(header) = bytes.get(..HEADER) else { return Step::NeedMore };
    let length = word(header, 12) as usize;
    let reserved = header.get(5..8) == Some(&[0, 0, 0]);
    if word(header, 16) != crc32(header.get(..16).unwrap_or_default()) || length > MAX_PAYLOAD || !reserved {
        return Step::Skip;
    }
    let whole = HEADER + length + TRAILER;
    let Some(payload) = bytes.get(HEADER..HEADER + length) else { return Step::NeedMore };
    if bytes.len() < whole {
        return Step::NeedMore;
    }
    if word(bytes, HEADER + length) != crc32(payload) {
        return Step::Skip;
    }
    let frame = Frame {
        kind: header.get(4).copied().unwrap_or(0),
        request: word(header, 8),
        payload: payload.to_vec(),
    };
    Step::Frame(frame, whole)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// CRC-32 as in IEEE 802.3 (reflected, polynomial 0x04C11DB7).
pub fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc_table();
    !bytes.iter().fold(!0, |crc: u32, byte| (crc >> 8) ^ TABLE[((crc ^ u32::from(*byte)) & 0xFF) as usize])
}

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xEDB8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(request: u32, length: usize) -> Frame {
        Frame { kind: 7, request, payload: (0..length).map(|i| (i * 31) as u8).collect() }
    }

    fn all(decoder: &mut Decoder) -> Vec<Frame> {
        std::iter::from_fn(|| decoder.next_frame()).collect()
    }

    #[test]
    fn crc_has_the_standard_check_value() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn frames_survive_any_cut() {
        let frames = [frame(1, 0), frame(2, 1), frame(3, MAX_PAYLOAD), frame(4, 100)];
        let bytes: Vec<u8> = frames.iter().flat_map(|f| f.encode().unwrap()).collect();
        for step in [1, 3, 19, 20, 21, 4096, bytes.len()] {
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(step) {
                decoder.push(piece);
                found.extend(all(&mut decoder));
            }
            assert_eq!(found, frames, "cut every {step} bytes");
            assert_eq!(decoder.skipped(), 0);
        }
    }

    #[test]
    fn a_broken_off_frame_costs_only_itself() {
        let whole = frame(1, 5000).encode().unwrap();
        for cut in [1, 4, 19, 20, 21, 4000, whole.len() - 1] {
            let mut decoder = Decoder::default();
            decoder.push(&whole[..cut]);
            decoder.push(&vec![0; PADDING]);
            decoder.push(&frame(2, 10).encode().unwrap());
            assert_eq!(all(&mut decoder), [frame(2, 10)], "broken off after {cut} bytes");
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_no_frame() {
        assert!(Frame { kind: 1, request: 1, payload: vec![0; MAX_PAYLOAD + 1] }.encode().is_none());
        let mut bytes = frame(1, 0).encode().unwrap();
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        let crc = crc32(&bytes[..16]);
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        decoder.push(&frame(9, 3).encode().unwrap());
        assert_eq!(all(&mut decoder), [frame(9, 3)]);
    }

    /// Random damage: the decoder never invents a frame, and finds the one that follows the padding.
    #[test]
    fn damage_is_found_and_left_behind() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..500 {
            let sent: Vec<Frame> = (0..4).map(|n| frame(n, (random() % 300) as usize)).collect();
            let mut bytes: Vec<u8> = sent.iter().flat_map(|f| f.encode().unwrap()).collect();
            for _ in 0..=random() % 4 {
                let at = (random() % bytes.len() as u64) as usize;
                match random() % 3 {
                    0 => bytes[at] ^= 1 << (random() % 8),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, random() as u8),
                }
            }
            bytes.extend(vec![0; PADDING]);
            bytes.extend(frame(99, 7).encode().unwrap());
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            let found = all(&mut decoder);
            assert_eq!(found.last(), Some(&frame(99, 7)), "round {round}");
            assert!(found.iter().rev().skip(1).all(|f| sent.contains(f)), "round {round} invented a frame");
        }
    }
}
