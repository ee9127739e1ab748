//! `--forward`: a port of the host that leads to one of the machine.

use anyhow::{Context as _, Result};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};

/// `[tcp:|udp:][ADDRESS:]HOST:GUEST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forward {
    udp: bool,
    address: IpAddr,
    host: u16,
    guest: u16,
}

impl Forward {
    /// Reads it; the error is one sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not HOST:GUEST, two port numbers, such as 8080:80");
        let (udp, rest) = match text.split_once(':') {
            Some(("udp", rest)) => (true, rest),
            Some(("tcp", rest)) => (false, rest),
            _ => (false, text),
        };
        let (before, guest) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let (address, host) = match before.rsplit_once(':') {
            Some((address, host)) => (address.trim_matches(['[', ']']).parse().map_err(|_| wrong())?, host),
            None => (IpAddr::V4(Ipv4Addr::LOCALHOST), before),
        };
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong);
        Ok(Self { udp, address, host: port(host)?, guest: port(guest)? })
    }

    /// An error when something else has the host's port.
    pub(super) fn check_free(&self) -> Result<()> {
        let place = (self.address, self.host);
        let bound =
            if self.udp { UdpSocket::bind(place).map(drop) } else { TcpListener::bind(place).map(drop) };
        bound.with_context(|| {
            format!("port {} of this machine cannot be used for --forward; choose another one", self.host)
        })
    }

    /// As QEMU's user network has it.
    pub(super) fn rule(&self) -> String {
        let protocol = if self.udp { "udp" } else { "tcp" };
        format!("hostfwd={protocol}:{}:{}-:{}", self.address, self.host, self.guest)
    }
}

impl std::fmt::Display for Forward {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = if self.udp { "UDP port" } else { "port" };
        write!(formatter, "Its {protocol} {} is {}:{} here.", self.guest, self.address, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        for (text, rule) in [
            ("8080:80", "hostfwd=tcp:127.0.0.1:8080-:80"),
            ("tcp:2222:22", "hostfwd=tcp:127.0.0.1:2222-:22"),
            ("udp:5353:53", "hostfwd=udp:127.0.0.1:5353-:53"),
            ("0.0.0.0:8080:80", "hostfwd=tcp:0.0.0.0:8080-:80"),
        ] {
            assert_eq!(Forward::parse(text).unwrap().rule(), rule);
        }
        for text in ["80", "a:b", "0:80", "70000:80", ":", "x:1:2"] {
            assert!(Forward::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_in_use_is_found() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = other.local_addr().unwrap().port();
        let forward = Forward::parse(&format!("{port}:80")).unwrap();
        assert!(forward.check_free().unwrap_err().to_string().contains(&port.to_string()));
    }
}
