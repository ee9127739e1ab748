//! IPAddressAllow=, IPAddressDeny=, SocketBindAllow= and SocketBindDeny= (systemd.resource-control(5)) as programs for the unit's
//! cgroup: extended BPF (Documentation/bpf/standardization/instruction-set), assembled at build time, without maps. What is in a list of
//! what is allowed passes; else what is in a list of what is denied does not; else it passes.

use std::net::IpAddr;

/// What a unit says of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// IPAddressAllow=
    pub allowed: Vec<Network>,
    /// IPAddressDeny=
    pub denied: Vec<Network>,
    /// SocketBindAllow=
    pub bind_allowed: Vec<Ports>,
    /// SocketBindDeny=
    pub bind_denied: Vec<Ports>,
}

impl Wishes {
    /// Adds what another unit says about addresses: a slice's lists count for what lies in it (systemd.resource-control(5)).
    pub fn join(&mut self, other: &Self) {
        for (own, others) in [(&mut self.allowed, &other.allowed), (&mut self.denied, &other.denied)] {
            own.extend(others.iter().copied());
        }
    }
}

/// A network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

/// What a socket can be bound to; nothing stands for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ports {
    is_ipv6: Option<bool>,
    protocol: Option<i32>,
    range: Option<(u16, u16)>,
}

/// Networks by name, or ADDRESS[/PREFIX], separated by blanks.
pub fn networks(text: &str) -> Result<Vec<Network>, String> {
    let mut found = Vec::new();
    for word in text.split_whitespace() {
        let named: &[&str] = match word {
            "any" => &["0.0.0.0/0", "::/0"],
            "localhost" => &["127.0.0.0/8", "::1/128"],
            "link-local" => &["169.254.0.0/16", "fe80::/64"],
            "multicast" => &["224.0.0.0/4", "ff00::/8"],
            address => &[address],
        };
        for text in named {
            found.push(network(text).ok_or_else(|| format!("`{word}` is no address with a prefix"))?);
        }
    }
    Ok(found)
}

fn network(text: &str) -> Option<Network> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(one, other)| (one, Some(other)));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv6() { 128 } else { 32 };
    let prefix = prefix.map_or(Some(most), |prefix| prefix.parse().ok()).filter(|prefix| *prefix <= most)?;
    Some(Network { address, prefix })
}

/// `[ipv4|ipv6:][tcp|udp:]PORT[-PORT]`, any part of it, or `any`.
pub fn ports(text: &str) -> Result<Vec<Ports>, String> {
    text.split_whitespace()
        .map(|word| {
            let wrong = || format!("`{word}` is not [ipv4|ipv6:][tcp|udp:]PORT[-PORT] or any");
            let mut ports = Ports::default();
            // Each part at most once, in this order.
            let mut place = 0;
            for part in word.split(':') {
                let at = match part {
                    "ipv4" | "ipv6" => {
                        ports.is_ipv6 = Some(part == "ipv6");
                        1
                    }
                    "tcp" | "udp" => {
                        ports.protocol = Some(if part == "tcp" { 6 } else { 17 });
                        2
                    }
                    "any" => 3,
                    _ => {
                        let (first, last) = part.split_once('-').unwrap_or((part, part));
                        let number = |text: &str| text.parse().ok().filter(|port| *port != 0_u16);
                        let range = number(first).zip(number(last)).filter(|(first, last)| first <= last);
                        ports.range = Some(range.ok_or_else(wrong)?);
                        3
                    }
                };
                if at <= place {
                    return Err(wrong());
                }
                place = at;
            }
            Ok(ports)
        })
        .collect()
}

/// The programs in order: where it is attached (`enum bpf_attach_type`), its length, its instructions.
pub fn assemble(wishes: &Wishes) -> Result<Vec<u64>, String> {
    const INGRESS: u64 = 0;
    const EGRESS: u64 = 1;
    const BIND_IPV4: u64 = 8;
    const BIND_IPV6: u64 = 9;
    let mut words = Vec::new();
    let mut add = |place: u64, program: Vec<u64>| {
        words.extend([place, program.len() as u64].into_iter().chain(program));
    };
    if !wishes.allowed.is_empty() || !wishes.denied.is_empty() {
        if wishes.allowed.len() + wishes.denied.len() > 1000 {
            return Err("more than 1000 networks".into());
        }
        add(INGRESS, packets(wishes, true));
        add(EGRESS, packets(wishes, false));
    }
    if !wishes.bind_allowed.is_empty() || !wishes.bind_denied.is_empty() {
        add(BIND_IPV4, binding(wishes, false));
        add(BIND_IPV6, binding(wishes, true));
    }
    Ok(words)
}

const MOVE: u8 = 0xbf; // mov64 reg
const MOVE_WORD: u8 = 0xbc; // mov32 reg
const SET: u8 = 0xb7; // mov64 imm
const ADD: u8 = 0x07; // add64 imm
const AND: u8 = 0x54; // and32 imm
const LOAD: u8 = 0x61; // ldx w
const TO_HOST: u8 = 0xdc; // from big-endian
const CALL: u8 = 0x85;
const IS_ZERO: u8 = 0x15; // jeq imm
const UNLIKE: u8 = 0x56; // jne32 imm
const ABOVE: u8 = 0x26; // jgt32 imm
const BELOW: u8 = 0xa6; // jlt32 imm
const EXIT: u8 = 0x95;

/// One instruction: `struct bpf_insn`.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    u64::from(code)
        | u64::from(destination | source << 4) << 8
        | u64::from(offset as u16) << 16
        | u64::from(immediate as u32) << 32
}

fn answer(yes: bool) -> [u64; 2] {
    [instruction(SET, 0, 0, 0, i32::from(yes)), instruction(EXIT, 0, 0, 0, 0)]
}

/// A jump over the answer: what makes its register, then code, register, value.
type Check = (Vec<u64>, u8, u8, i32);

/// The first rule whose checks all hold answers; without one the answer is yes. Nothing may follow a rule without checks: the kernel
/// refuses what cannot be reached.
fn decide(rules: impl Iterator<Item = (Vec<Check>, bool)>) -> Vec<u64> {
    let mut program = Vec::new();
    for (checks, yes) in rules {
        program.extend(rule(&checks, yes));
        if checks.is_empty() {
            return program;
        }
    }
    program.extend(answer(true));
    program
}

fn rule(checks: &[Check], yes: bool) -> Vec<u64> {
    let mut left: usize = checks.iter().map(|(before, ..)| before.len() + 1).sum();
    let mut program = Vec::new();
    for (before, code, register, value) in checks {
        left -= before.len() + 1;
        program.extend(before);
        program.push(instruction(*code, *register, 0, left as i16 + 2, *value));
    }
    program.extend(answer(yes));
    program
}

/// r1 points to `struct __sk_buff`, whose data begin with the IP header.
fn packets(wishes: &Wishes, is_ingress: bool) -> Vec<u64> {
    const PROTOCOL: i16 = 16;
    const LOAD_BYTES: i32 = 26; // bpf_skb_load_bytes
    let mut program = vec![instruction(MOVE, 6, 1, 0, 0), instruction(LOAD, 7, 6, PROTOCOL, 0)];
    // EtherTypes in network order, where the two addresses are, and how long.
    for (is_ipv6, ether_type, source, destination, words) in
        [(false, 0x0008, 12, 16, 1_u8), (true, 0xdd86, 8, 24, 4)]
    {
        let at = if is_ingress { source } else { destination };
        let mut block = vec![
            instruction(MOVE, 1, 6, 0, 0),
            instruction(SET, 2, 0, 0, at),
            instruction(MOVE, 3, 10, 0, 0),
            instruction(ADD, 3, 0, 0, -16),
            instruction(SET, 4, 0, 0, i32::from(words) * 4),
            instruction(CALL, 0, 0, 0, LOAD_BYTES),
            instruction(IS_ZERO, 0, 0, 2, 0),
        ];
        block.extend(answer(false));
        for word in 0..words {
            block.push(instruction(LOAD, 2 + word, 10, i16::from(word) * 4 - 16, 0));
            block.push(instruction(TO_HOST, 2 + word, 0, 0, 32));
        }
        let ours = |list: &[Network], yes| {
            let of_family = list.iter().filter(|network| network.address.is_ipv6() == is_ipv6);
            of_family.map(|network| (address_checks(network), yes)).collect::<Vec<_>>()
        };
        let rules = ours(&wishes.allowed, true).into_iter().chain(ours(&wishes.denied, false));
        block.extend(decide(rules));
        program.push(instruction(UNLIKE, 7, 0, block.len() as i16, ether_type));
        program.extend(block);
    }
    program.extend(answer(true));
    program
}

/// The address' words are in r2 and what follows, r1 is free.
fn address_checks(network: &Network) -> Vec<Check> {
    let octets = match network.address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (words, _) = octets.as_chunks::<4>();
    let mut checks = Vec::new();
    for (number, word) in words.iter().enumerate() {
        let bits = network.prefix.saturating_sub(number as u32 * 32).min(32);
        if bits == 0 {
            break;
        }
        let mask = u32::MAX << (32 - bits);
        let masked =
            vec![instruction(MOVE_WORD, 1, 2 + number as u8, 0, 0), instruction(AND, 1, 0, 0, mask as i32)];
        checks.push((masked, UNLIKE, 1, (u32::from_be_bytes(*word) & mask) as i32));
    }
    checks
}

/// r1 points to `struct bpf_sock_addr`.
fn binding(wishes: &Wishes, is_ipv6: bool) -> Vec<u64> {
    const PORT: i16 = 24;
    const PROTOCOL: i16 = 36;
    let mut program = vec![
        instruction(LOAD, 7, 1, PROTOCOL, 0),
        instruction(LOAD, 8, 1, PORT, 0),
        instruction(TO_HOST, 8, 0, 0, 16),
    ];
    let ours = |list: &[Ports], yes| {
        let of_family = list.iter().filter(|ports| ports.is_ipv6.is_none_or(|of| of == is_ipv6));
        of_family.map(|ports| (port_checks(ports), yes)).collect::<Vec<_>>()
    };
    program
        .extend(decide(ours(&wishes.bind_allowed, true).into_iter().chain(ours(&wishes.bind_denied, false))));
    program
}

/// The protocol is in r7, the port in r8.
fn port_checks(ports: &Ports) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.extend(ports.protocol.map(|protocol| (Vec::new(), UNLIKE, 7, protocol)));
    if let Some((first, last)) = ports.range {
        checks.push((Vec::new(), BELOW, 8, i32::from(first)));
        checks.push((Vec::new(), ABOVE, 8, i32::from(last)));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program over a context of 32-bit fields and the bytes of a packet.
    fn run(program: &[u64], context: &dyn Fn(i16) -> u32, packet: &[u8]) -> u64 {
        let (mut registers, mut stack, mut at) = ([0_u64; 11], [0_u8; 16], 0);
        loop {
            let word = program[at];
            let (code, to, from) = (word as u8, (word >> 8 & 15) as usize, (word >> 12 & 15) as usize);
            let (offset, immediate) = ((word >> 16) as u16 as i16, (word >> 32) as u32);
            at += 1;
            let low = registers[to] as u32;
            let jumps = match code {
                IS_ZERO => registers[to] == u64::from(immediate),
                UNLIKE => low != immediate,
                ABOVE => low > immediate,
                BELOW => low < immediate,
                _ => false,
            };
            if jumps {
                at += offset as usize;
            }
            match code {
                MOVE => registers[to] = registers[from],
                MOVE_WORD => registers[to] = u64::from(registers[from] as u32),
                SET => registers[to] = u64::from(immediate),
                AND => registers[to] = u64::from(low & immediate),
                LOAD if from == 10 => {
                    let place = (offset + 16) as usize;
                    registers[to] =
                        u64::from(u32::from_le_bytes(stack[place..place + 4].try_into().unwrap()));
                }
                LOAD => registers[to] = u64::from(context(offset)),
                TO_HOST if immediate == 16 => registers[to] = u64::from((low as u16).swap_bytes()),
                TO_HOST => registers[to] = u64::from(low.swap_bytes()),
                CALL => {
                    let (place, length) = (registers[2] as usize, registers[4] as usize);
                    stack[..length].copy_from_slice(&packet[place..place + length]);
                    registers[0] = 0;
                }
                EXIT => return registers[0],
                ADD | IS_ZERO | UNLIKE | ABOVE | BELOW => {}
                other => panic!("{other:#x}"),
            }
        }
    }

    /// The program that is attached at a place.
    fn at(words: &[u64], place: u64) -> Vec<u64> {
        let mut rest = words;
        while let [at, length, tail @ ..] = rest {
            let (program, after) = tail.split_at(*length as usize);
            if *at == place {
                return program.to_vec();
            }
            rest = after;
        }
        panic!("nothing at {place}");
    }

    /// Whether a packet from one address to another passes on its way in and on its way out.
    fn passes(words: &[u64], from: &str, to: &str) -> (bool, bool) {
        let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let mut packet = vec![0; if from.is_ipv6() { 8 } else { 12 }];
        packet.extend(octets(from).into_iter().chain(octets(to)));
        let protocol = if from.is_ipv6() { 0xdd86 } else { 0x0008 };
        let one = |place| run(&at(words, place), &|_| protocol, &packet) == 1;
        (one(0), one(1))
    }

    #[test]
    fn packets_pass_by_the_other_sides_address() {
        let wishes = Wishes {
            allowed: networks("localhost 10.1.0.0/16 2001:db8:1::/48").unwrap(),
            denied: networks("any").unwrap(),
            ..Wishes::default()
        };
        let words = assemble(&wishes).unwrap();
        assert_eq!(passes(&words, "127.0.0.1", "127.0.0.2"), (true, true));
        assert_eq!(passes(&words, "10.1.2.3", "10.2.0.1"), (true, false));
        assert_eq!(passes(&words, "::1", "::2"), (true, false));
        assert_eq!(passes(&words, "2001:db8:1:ffff::1", "2001:db8:2::1"), (true, false));
        assert_eq!(run(&at(&words, 0), &|_| 0x0608, &[]), 1, "ARP is not looked at");
        let words =
            assemble(&Wishes { denied: networks("192.168.7.0/31").unwrap(), ..Wishes::default() }).unwrap();
        assert_eq!(passes(&words, "192.168.7.1", "192.168.7.2"), (false, true));
        assert_eq!(passes(&words, "::1", "::1"), (true, true));
    }

    #[test]
    fn sockets_are_bound_where_they_may() {
        let wishes = Wishes {
            bind_allowed: ports("ipv4:tcp:7000-7010 udp:53").unwrap(),
            bind_denied: ports("any").unwrap(),
            ..Wishes::default()
        };
        let words = assemble(&wishes).unwrap();
        let may = |place: u64, protocol: u32, port: u16| {
            run(&at(&words, place), &|offset| if offset == 36 { protocol } else { port.to_be().into() }, &[])
                == 1
        };
        assert!(may(8, 6, 7000) && may(8, 6, 7010) && may(8, 17, 53) && may(9, 17, 53));
        assert!(!may(8, 6, 7011) && !may(8, 6, 6999) && !may(9, 6, 7005) && !may(8, 17, 7005));
    }

    #[test]
    fn what_is_no_address_or_port_is_named() {
        for text in ["10.0.0.0/33", "localhosts", "::/129", "1.2.3"] {
            assert!(networks(text).unwrap_err().contains(text));
        }
        for text in ["tcp:ipv4", "0", "9-8", "sctp", "70000", "ipv4:ipv6"] {
            assert!(ports(text).unwrap_err().contains(text));
        }
        assert_eq!(assemble(&Wishes::default()), Ok(Vec::new()));
    }
}
