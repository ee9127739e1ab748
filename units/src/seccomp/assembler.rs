//! Classic BPF for seccomp(2): the program sees `struct seccomp_data` (number at 0, architecture at 4, arguments from 16 on, 8 bytes
//! each, of which the low word is looked at) and returns an action.

use std::collections::BTreeMap;

const LOAD: u16 = 0x20; // ld [k]
const AND: u16 = 0x54; // and k
const EQUAL: u16 = 0x15; // jeq k
const AT_LEAST: u16 = 0x35; // jge k
const JUMP: u16 = 0x05; // ja k
const RETURN: u16 = 0x06; // ret k

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// Calls of the x32 interface have this bit.
const X32: u32 = 0x4000_0000;

/// One instruction as a word: `struct sock_filter` in little-endian order.
fn instruction(code: u16, if_true: u8, if_false: u8, k: u32) -> u64 {
    u64::from(code) | u64::from(if_true) << 16 | u64::from(if_false) << 24 | u64::from(k) << 32
}

/// A look at an argument's low word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Check {
    /// Any of these bits is set.
    AnyBit(u32),
    /// All of them are.
    AllBits(u32),
    /// It is one of these.
    In(Vec<u32>),
    /// It is none of these.
    NotIn(Vec<u32>),
}

/// An action for a call whose arguments pass all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) call: u32,
    pub(super) checks: Vec<(u8, Check)>,
    pub(super) action: u32,
}

/// Calls of another architecture meet `foreign`; leaves the call's number in the accumulator.
fn prologue(foreign: u32) -> Vec<u64> {
    vec![
        instruction(LOAD, 0, 0, 4),
        instruction(EQUAL, 1, 0, AUDIT_ARCH_X86_64),
        instruction(RETURN, 0, 0, foreign),
        instruction(LOAD, 0, 0, 0),
        instruction(AT_LEAST, 0, 1, X32),
        instruction(RETURN, 0, 0, foreign),
    ]
}

/// A program that decides by the call's number: a binary search over the ranges that share an action.
pub(super) fn by_number(default: u32, actions: &BTreeMap<u32, u32>, foreign: u32) -> Vec<u64> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    let mut push = |start: u32, action: u32| match ranges.last_mut() {
        Some((_, last)) if *last == action => {}
        Some((last_start, last)) if *last_start == start => *last = action,
        _ => ranges.push((start, action)),
    };
    push(0, default);
    let mut next = 0;
    for (number, action) in actions {
        if *number > next {
            push(next, default);
        }
        push(*number, *action);
        next = number + 1;
    }
    push(next, default);
    let mut program = prologue(foreign);
    program.extend(search(&ranges));
    program
}

fn search(ranges: &[(u32, u32)]) -> Vec<u64> {
    if let [(_, action)] = ranges {
        return vec![instruction(RETURN, 0, 0, *action)];
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let boundary = above.first().map_or(0, |(start, _)| *start);
    let (low, high) = (search(below), search(above));
    let mut program = match u8::try_from(low.len()) {
        Ok(distance) => vec![instruction(AT_LEAST, distance, 0, boundary)],
        // Too far for a conditional jump.
        Err(_) => vec![instruction(AT_LEAST, 0, 1, boundary), instruction(JUMP, 0, 0, low.len() as u32)],
    };
    program.extend(low);
    program.extend(high);
    program
}

/// A program that looks at arguments: rule after rule, all else is allowed.
pub(super) fn by_argument(rules: &[Rule], foreign: u32) -> Vec<u64> {
    let mut program = prologue(foreign);
    for rule in rules {
        let mut body = Vec::new();
        for (argument, check) in &rule.checks {
            body.push((LOAD, Next::Go, Next::Go, 16 + u32::from(*argument) * 8));
            match check {
                Check::AnyBit(bits) => {
                    body.push((AND, Next::Go, Next::Go, *bits));
                    body.push((EQUAL, Next::Fail, Next::Go, 0));
                }
                Check::AllBits(bits) => {
                    body.push((AND, Next::Go, Next::Go, *bits));
                    body.push((EQUAL, Next::Go, Next::Fail, *bits));
                }
                Check::NotIn(values) => {
                    body.extend(values.iter().map(|value| (EQUAL, Next::Fail, Next::Go, *value)));
                }
                Check::In(values) => {
                    let last = values.len().saturating_sub(1);
                    if values.is_empty() {
                        body.push((JUMP, Next::Fail, Next::Fail, 0));
                    }
                    for (index, value) in values.iter().enumerate() {
                        let otherwise = if index == last { Next::Fail } else { Next::Go };
                        body.push((EQUAL, Next::Skip(last - index), otherwise, *value));
                    }
                }
            }
        }
        body.push((RETURN, Next::Go, Next::Go, rule.action));
        // Where the rule does not hold: the call's number again, for the next one.
        let fail = body.len();
        let distance = |at: usize, next: Next| match next {
            Next::Go => 0,
            Next::Skip(count) => count,
            Next::Fail => fail - at - 1,
        };
        program.push(instruction(EQUAL, 0, (body.len() + 1) as u8, rule.call));
        for (at, (code, if_true, if_false, k)) in body.into_iter().enumerate() {
            program.push(match code {
                JUMP => instruction(JUMP, 0, 0, distance(at, if_true) as u32),
                _ => instruction(code, distance(at, if_true) as u8, distance(at, if_false) as u8, k),
            });
        }
        program.push(instruction(LOAD, 0, 0, 0));
    }
    program.push(instruction(RETURN, 0, 0, super::ALLOW));
    program
}

/// Where an instruction of a rule leads.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// On.
    Go,
    /// Over so many.
    Skip(usize),
    /// The rule does not hold.
    Fail,
}
