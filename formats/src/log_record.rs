//! The records of the log store: what the log collector appends to `/var/log/firn/STREAM.log` and `firn logs` reads.
//!
//! ```text
//! file     "FIRNLOG1", then records up to the end
//! record   sync word 8b 46 4c 0a, length u32 of the payload, its CRC-32C u32 (RFC 3720 appendix B.4), the payload
//! payload  time u64 (microseconds of CLOCK_REALTIME), since_boot u64 (of CLOCK_BOOTTIME), boot id 16 bytes,
//!          source u8, priority u8, facility u8, 0, pid u32, uid u32,
//!          identifier (length u16, bytes), message (u32, bytes),
//!          count u16 of further fields, each: name (u16, bytes), value (u32, bytes)
//! ```
//!
//! Numbers are little-endian. A record counts when its checksum fits. What a power cut tore is skipped: a reader looks for
//! the next sync word after damage, so that damage costs the records that it hit and no others.

use std::ops::Range;

/// Where the streams lie.
pub const DIRECTORY: &str = "/var/log/firn";

/// The first bytes of a file.
pub const MAGIC: &[u8; 8] = b"FIRNLOG1";

/// The first bytes of a record: not UTF-8, so that no text is taken for it.
const SYNC: [u8; 4] = [0x8b, b'F', b'L', 0x0a];

/// Bytes of a record before its payload.
const HEAD: usize = 12;

/// No payload is longer.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Source {
    /// A service's standard output or error.
    Stdout = 1,
    /// A datagram to /dev/log.
    Syslog = 2,
    /// A datagram in the journal's own form.
    Journal = 3,
    /// The kernel's ring buffer.
    Kernel = 4,
    /// The log collector itself: what was dropped.
    Collector = 5,
}

impl Source {
    /// journald's word for it (systemd.journal-fields(7), `_TRANSPORT=`).
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Syslog => "syslog",
            Self::Journal => "journal",
            Self::Kernel => "kernel",
            Self::Collector => "driver",
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Stdout,
            2 => Self::Syslog,
            3 => Self::Journal,
            4 => Self::Kernel,
            5 => Self::Collector,
            _ => return None,
        })
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When: microseconds of CLOCK_REALTIME.
    pub time: u64,
    /// When: microseconds of CLOCK_BOOTTIME, which no clock change touches.
    pub since_boot: u64,
    /// /proc/sys/kernel/random/boot_id.
    pub boot: [u8; 16],
    /// How it came.
    pub source: Source,
    /// 0 (emergency) to 7 (debug), as in syslog(3).
    pub priority: u8,
    /// As in syslog(3), unshifted.
    pub facility: u8,
    /// The sender, 0 when nobody can tell.
    pub pid: u32,
    /// The sender's user.
    pub uid: u32,
    /// The program's name for itself.
    pub identifier: String,
    /// The text, without the end of the line.
    pub message: Vec<u8>,
    /// What came with it.
    pub fields: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// Appends the record's bytes. What is too long for its length's number is cut.
    pub fn encode(&self, to: &mut Vec<u8>) {
        let at = to.len();
        to.extend(SYNC);
        to.extend([0; 8]);
        to.extend(self.time.to_le_bytes());
        to.extend(self.since_boot.to_le_bytes());
        to.extend(self.boot);
        to.extend([self.source as u8, self.priority, self.facility, 0]);
        to.extend(self.pid.to_le_bytes());
        to.extend(self.uid.to_le_bytes());
        short(to, self.identifier.as_bytes());
        long(to, self.message.get(..self.message.len().min(MAX_PAYLOAD / 2)).unwrap_or_default());
        let counted = to.len();
        to.extend([0; 2]);
        let mut count = 0_u16;
        for (name, value) in &self.fields {
            if to.len() - at + name.len() + value.len() > MAX_PAYLOAD || count == u16::MAX {
                break;
            }
            short(to, name.as_bytes());
            long(to, value);
            count += 1;
        }
        put(to, counted, &count.to_le_bytes());
        let payload = at + HEAD;
        let (length, sum) = (to.len() - payload, crc32c(to.get(payload..).unwrap_or_default()));
        put(to, at + 4, &(length as u32).to_le_bytes());
        put(to, at + 8, &sum.to_le_bytes());
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let (time, since_boot, boot) = (fields.u64()?, fields.u64()?, fields.array::<16>()?);
        let [source, priority, facility, _] = fields.array::<4>()?;
        let (pid, uid) = (fields.u32()?, fields.u32()?);
        let identifier = String::from_utf8_lossy(fields.short()?).into_owned();
        let message = fields.long()?.to_vec();
        let count = fields.u16()?;
        let mut more = Vec::new();
        for _ in 0..count {
            let name = String::from_utf8_lossy(fields.short()?).into_owned();
            more.push((name, fields.long()?.to_vec()));
        }
        let source = Source::from_number(source)?;
        let fields = more;
        Some(Self {
            time,
            since_boot,
            boot,
            source,
            priority: priority.min(7),
            facility,
            pid,
            uid,
            identifier,
            message,
            fields,
        })
    }

    /// The value of a further field.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }
}

fn short(to: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = bytes.get(..bytes.len().min(usize::from(u16::MAX))).unwrap_or_default();
    to.extend((bytes.len() as u16).to_le_bytes());
    to.extend(bytes);
}

fn long(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend((bytes.len() as u32).to_le_bytes());
    to.extend(bytes);
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    for (slot, byte) in to.iter_mut().skip(at).zip(bytes) {
        *slot = *byte;
    }
}

/// A payload being read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.bytes(usize::from(length))
    }

    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.bytes(length as usize)
    }
}

/// The whole records in a file's bytes, in order, with the place of each.
#[derive(Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    /// The records of a file, or of a part that begins anywhere.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next record's payload.
    fn next_payload(&mut self) -> Option<(Range<usize>, &'a [u8])> {
        loop {
            let rest = self.bytes.get(self.at..)?;
            if let Some(payload) = whole(rest) {
                let start = self.at;
                self.at += HEAD + payload.len();
                return Some((start..self.at, payload));
            }
            // Not here (or the file's magic): the next sync word.
            let after = rest.get(1..)?;
            self.at += 1 + after.windows(SYNC.len()).position(|window| window == SYNC)?;
        }
    }

    /// Where the last whole record ends, without decoding any: what is behind that is torn. 0 when there is none.
    pub fn end_of_last(mut self) -> usize {
        let mut end = 0;
        while let Some((range, _)) = self.next_payload() {
            end = range.end;
        }
        end
    }
}

impl Iterator for Records<'_> {
    type Item = (Range<usize>, Record);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (range, payload) = self.next_payload()?;
            if let Some(record) = Record::decode(payload) {
                return Some((range, record));
            }
        }
    }
}

/// The payload of the record that begins here, when it is whole.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let mut head = Fields(bytes);
    if head.array::<4>()? != SYNC {
        return None;
    }
    let (length, sum) = (head.u32()? as usize, head.u32()?);
    let payload = head.bytes(Some(length).filter(|length| *length <= MAX_PAYLOAD)?)?;
    (crc32c(payload) == sum).then_some(payload)
}

/// The table of the reflected polynomial for one byte.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

fn crc32c(bytes: &[u8]) -> u32 {
    let entry = |index: u32| TABLE.get((index & 0xff) as usize).copied().unwrap_or_default();
    !bytes.iter().fold(!0, |crc, byte| entry(crc ^ u32::from(*byte)) ^ (crc >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u32) -> Record {
        Record {
            time: 1_795_400_553_859_164 + u64::from(number),
            since_boot: 7_000_000,
            boot: [7; 16],
            source: Source::Journal,
            priority: 4,
            facility: 3,
            pid: number,
            uid: 1000,
            identifier: "nginx".into(),
            message: format!("line {number} \u{8b}FL\n with what looks like a sync word").into_bytes(),
            fields: vec![
                ("CODE_LINE".into(), b"77".to_vec()),
                ("BLOB".into(), vec![0, 0x8b, b'F', b'L', 10]),
            ],
        }
    }

    fn file(count: u32) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        (0..count).for_each(|number| record(number).encode(&mut bytes));
        bytes
    }

    fn pids(bytes: &[u8]) -> Vec<u32> {
        Records::new(bytes).map(|(_, record)| record.pid).collect()
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = file(3);
        let found: Vec<Record> = Records::new(&bytes).map(|(_, record)| record).collect();
        assert_eq!(found, [record(0), record(1), record(2)]);
        assert_eq!(Records::new(&bytes).end_of_last(), bytes.len());
        assert_eq!(found[1].field("CODE_LINE"), Some(b"77".as_slice()));
    }

    /// A power cut at every byte of the last record leaves the others.
    #[test]
    fn a_torn_tail_costs_only_what_it_tore() {
        let (two, three) = (file(2), file(3));
        for length in two.len()..three.len() {
            assert_eq!(pids(&three[..length]), [0, 1], "cut at {length}");
            assert_eq!(Records::new(&three[..length]).end_of_last(), two.len());
            // The same with zeros where the data never arrived, and with records written behind it later.
            let mut zeros = three[..length].to_vec();
            zeros.resize(three.len(), 0);
            record(9).encode(&mut zeros);
            assert_eq!(pids(&zeros), [0, 1, 9], "zeros from {length}");
        }
    }

    #[test]
    fn damage_anywhere_costs_one_record() {
        let bytes = file(3);
        for position in MAGIC.len()..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 0x55;
            assert_eq!(pids(&damaged).len(), 2, "damage at {position}");
        }
    }

    #[test]
    fn hostile_bytes_are_no_records() {
        // Lengths and counts that lie, under a right checksum.
        for payload in [vec![], vec![0; 30], vec![255; 80]] {
            let mut bytes = SYNC.to_vec();
            bytes.extend((payload.len() as u32).to_le_bytes());
            bytes.extend(crc32c(&payload).to_le_bytes());
            bytes.extend(&payload);
            assert_eq!(Records::new(&bytes).count(), 0);
        }
        let mut long = record(1);
        long.message = vec![b'x'; 2 * MAX_PAYLOAD];
        long.fields = vec![("A".into(), vec![0; MAX_PAYLOAD]); 3];
        let mut bytes = Vec::new();
        long.encode(&mut bytes);
        assert_eq!(Records::new(&bytes).next().unwrap().1.message.len(), MAX_PAYLOAD / 2);
    }
}
