//! The other end of the protocol: a connection to a daemon, Nix's or our own, over its Unix socket. Nix manual, "Nix Daemon
//! Protocol". One request at a time; what the daemon tells while it works goes to a listener.

use super::wire::{Answer, read_number, read_text, read_texts, send};
use crate::error::{Error, Result};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::process::Child;
use std::sync::{Mutex, PoisonError};

const CLIENT_MAGIC: u64 = 0x6e69_7863;
const SERVER_MAGIC: u64 = 0x6478_696f;
/// 1.35, as our own daemon; an older or newer one is met at what both know.
const VERSION: u64 = 0x123;
/// Nix 2.4 and newer.
const OLDEST: u64 = 0x120;

/// What a daemon of 1.35 says to whom it does not trust.
const NOT_TRUSTED: u64 = 2;

const NEXT: u64 = 0x6f6c_6d67;
const READ: u64 = 0x6461_7461;
const WRITE: u64 = 0x6461_7416;
const FAILED: u64 = 0x6378_7470;
const LAST: u64 = 0x616c_7473;
const START: u64 = 0x5354_5254;
const STOP: u64 = 0x5354_4f50;
const RESULT: u64 = 0x5253_4c54;

/// How many bytes of a stream are sent at a time.
const FRAME: usize = 64 * 1024;

/// What a daemon tells while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// A line for the user.
    Line(String),
    /// Something began: its number, its type and the first text about it.
    Started(u64, u64, String),
    /// Something ended.
    Stopped(u64),
    /// Something came of what goes on: its number, the type, the first text.
    Result(u64, u64, String),
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// What it is called in messages.
    name: String,
    ends: Mutex<Ends>,
    version: u64,
    /// Whether the daemon says that it does not take our word.
    distrusted: bool,
    /// The program that talks, where it is one of ours.
    child: Option<Mutex<Child>>,
}

struct Ends {
    input: BufReader<Box<dyn Read + Send>>,
    output: Option<Box<dyn Write + Send>>,
    /// Whether a conversation broke off in the middle: nobody knows what comes next.
    broken: bool,
}

impl Connection {
    /// Connects and greets.
    pub(crate) fn open(socket: &Path) -> Result<Self> {
        let output = super::connect(socket)?;
        let input = output.try_clone().map_err(Error::file("connecting to", socket))?;
        let name = format!("the daemon at `{}`", socket.display());
        Self::greet(name, Box::new(input), Box::new(output), None)
    }

    /// Talks to a daemon that was started with pipes.
    pub(crate) fn with_child(name: String, mut child: Child) -> Result<Self> {
        let ends = (child.stdout.take(), child.stdin.take());
        let (Some(input), Some(output)) = ends else {
            return Err(Error::Invalid(format!("{name} was started without pipes")));
        };
        Self::greet(name, Box::new(input), Box::new(output), Some(child))
    }

    fn greet(
        name: String,
        input: Box<dyn Read + Send>,
        output: Box<dyn Write + Send>,
        child: Option<Child>,
    ) -> Result<Self> {
        let mut ends =
            Ends { input: BufReader::with_capacity(FRAME, input), output: Some(output), broken: false };
        ends.send(&Answer::default().number(CLIENT_MAGIC).0)?;
        if read_number(&mut ends.input)? != SERVER_MAGIC {
            return Err(Error::Invalid(format!("{name} does not speak Nix's worker protocol")));
        }
        let theirs = read_number(&mut ends.input)?;
        let version = theirs.min(VERSION);
        if version < OLDEST || theirs >> 8 != VERSION >> 8 {
            let text = format!(
                "{name} speaks version {}.{} of the worker protocol; 1.32 (Nix 2.4) or newer is needed",
                theirs >> 8,
                theirs & 0xff
            );
            return Err(Error::Invalid(text));
        }
        // No wish for a processor, and no space to reserve.
        ends.send(&Answer::default().number(VERSION).number(0).number(0).0)?;
        let version = version & 0xff;
        if version >= 33 {
            read_text(&mut ends.input)?;
        }
        let distrusted = version >= 35 && read_number(&mut ends.input)? == NOT_TRUSTED;
        ends.listen(&mut |_| {})?;
        Ok(Self { name, ends: Mutex::new(ends), version, distrusted, child: child.map(Mutex::new) })
    }

    /// What it is called in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The minor version that both ends know.
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// Whether the daemon takes our word, as far as it says.
    pub(crate) const fn is_trusted(&self) -> bool {
        !self.distrusted
    }

    /// Makes a request and reads its answer.
    pub(crate) fn ask<T>(
        &self,
        operation: u64,
        request: &Answer,
        told: &mut dyn FnMut(Told),
        read: impl FnOnce(&mut dyn Read) -> Result<T>,
    ) -> Result<T> {
        self.converse(operation, request, |_| Ok(()), told, read)
    }

    /// The same with a stream behind the request, which `write` writes.
    pub(crate) fn ask_with_stream<T>(
        &self,
        operation: u64,
        request: &Answer,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
        read: impl FnOnce(&mut dyn Read) -> Result<T>,
    ) -> Result<T> {
        let framed = |output: &mut dyn Write| {
            let mut frames = Frames { output, buffer: Vec::with_capacity(FRAME) };
            let written = write(&mut frames);
            // Ended in any case: the daemon says what is wrong with half a stream, and goes on.
            frames.end().map_err(Error::file("talking to", "the daemon"))?;
            written
        };
        self.converse(operation, request, framed, &mut |_| {}, read)
    }

    fn converse<T>(
        &self,
        operation: u64,
        request: &Answer,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
        told: &mut dyn FnMut(Told),
        read: impl FnOnce(&mut dyn Read) -> Result<T>,
    ) -> Result<T> {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if ends.broken {
            return Err(Error::Invalid(format!("the conversation with {} broke off", self.name)));
        }
        let mut message = Answer::default();
        message.number(operation);
        message.0.extend(&request.0);
        ends.broken = true;
        ends.send(&message.0)?;
        let written = match &mut ends.output {
            Some(output) => write(output),
            None => Ok(()),
        };
        let answered = match ends.listen(told) {
            Ok(()) => read(&mut ends.input),
            // An error that the daemon reports is an answer.
            Err(error @ Error::Daemon(_)) => {
                ends.broken = false;
                Err(error)
            }
            Err(error) => Err(error),
        };
        if answered.is_ok() {
            ends.broken = false;
        }
        written?;
        answered
    }
}

impl Drop for Connection {
    /// A program of ours ends when nobody talks to it any more.
    fn drop(&mut self) {
        let Some(child) = &self.child else { return };
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).output = None;
        if let Err(error) = child.lock().unwrap_or_else(PoisonError::into_inner).wait() {
            log::debug!("{}: {error}", self.name);
        }
    }
}

impl std::fmt::Debug for Ends {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Ends").field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl Ends {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.output {
            Some(output) => send(output, bytes),
            None => Ok(()),
        }
    }

    /// Hears what is told until the work is done.
    fn listen(&mut self, told: &mut dyn FnMut(Told)) -> Result<()> {
        let input = &mut self.input;
        loop {
            match read_number(input)? {
                LAST => return Ok(()),
                NEXT => told(Told::Line(read_text(input)?.trim_end().to_owned())),
                START => {
                    let number = read_number(input)?;
                    read_number(input)?; // how important it is
                    let kind = read_number(input)?;
                    read_text(input)?;
                    let text = first_text(input)?;
                    read_number(input)?; // what it is part of
                    told(Told::Started(number, kind, text));
                }
                STOP => told(Told::Stopped(read_number(input)?)),
                RESULT => {
                    let (number, kind) = (read_number(input)?, read_number(input)?);
                    told(Told::Result(number, kind, first_text(input)?));
                }
                FAILED => {
                    read_text(input)?;
                    read_number(input)?;
                    read_text(input)?;
                    let message = plain(&read_text(input)?);
                    read_number(input)?;
                    for _ in 0..read_number(input)? {
                        read_number(input)?;
                        read_text(input)?;
                    }
                    return Err(Error::Daemon(message));
                }
                // Of old: the daemon reads or writes a stream of its own.
                READ | WRITE => {
                    return Err(Error::Invalid("the daemon asks for a stream nobody has".to_owned()));
                }
                other => {
                    return Err(Error::Invalid(format!("the daemon sent {other:#x}, which means nothing")));
                }
            }
        }
    }
}

/// A text without the escape sequences of a terminal: who shows it decides how.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            characters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(character);
        }
    }
    plain
}

/// The fields of a message: the first that is a text.
fn first_text(input: &mut dyn Read) -> Result<String> {
    let mut found = None;
    for _ in 0..read_number(input)? {
        match read_number(input)? {
            0 => drop(read_number(input)?),
            1 => {
                let text = read_text(input)?;
                found.get_or_insert(text);
            }
            other => {
                return Err(Error::Invalid(format!("the daemon sent a field of the unknown type {other}")));
            }
        }
    }
    Ok(found.unwrap_or_default())
}

/// Reads a list of texts.
pub(crate) fn texts(input: &mut dyn Read) -> Result<Vec<String>> {
    read_texts(input)
}

/// Writes a stream in frames.
struct Frames<'a> {
    output: &'a mut dyn Write,
    buffer: Vec<u8>,
}

impl Frames<'_> {
    fn frame(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.output.write_all(&(self.buffer.len() as u64).to_le_bytes())?;
            self.output.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn end(mut self) -> io::Result<()> {
        self.frame()?;
        self.output.write_all(&0_u64.to_le_bytes())?;
        self.output.flush()
    }
}

impl Write for Frames<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= FRAME {
            self.frame()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.frame()
    }
}
