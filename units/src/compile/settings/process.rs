//! Directives about processes whose values are languages of their own, and what sandbox settings mean for each other: systemd.exec(5),
//! systemd.resource-control(5).

use super::Reader;
use crate::error::Problem;
use crate::network_filter;
use crate::process_value;
use crate::seccomp;
use crate::value;
use formats::service_graph::builder::Value;
use formats::service_graph::key::{Key, flag, sandbox};

impl Reader<'_> {
    /// Directives about processes whose values are languages of their own.
    #[expect(clippy::too_many_lines, reason = "one arm a directive")]
    pub(super) fn process_directive(&mut self, directive: &str, text: &str) -> Result<(), String> {
        match directive {
            "SystemCallFilter" if text.is_empty() => self.wishes.filter.clear(),
            "SystemCallFilter" => self.wishes.filter.push(text.to_owned()),
            "SystemCallErrorNumber" => {
                self.wishes.denied = if text.is_empty() { None } else { Some(seccomp::error_number(text)?) };
            }
            "SystemCallArchitectures" => {
                self.wishes.native_only = !text.is_empty();
                if let Some(other) =
                    text.split_whitespace().find(|word| !matches!(*word, "native" | "x86-64"))
                {
                    return Err(format!(
                        "`{other}`: only the machine's own architecture can be filtered for; write native"
                    ));
                }
            }
            "RestrictAddressFamilies" => {
                let before = self.wishes.families.take();
                self.wishes.families = seccomp::address_families(before, text)?;
            }
            "RestrictNamespaces" => {
                self.wishes.namespaces = seccomp::namespaces(self.wishes.namespaces, text)?;
            }
            "IPAddressAllow" | "IPAddressDeny" => {
                let new = network_filter::networks(&self.context.expand(text)?)?;
                let network = &mut self.network;
                let list =
                    if directive == "IPAddressAllow" { &mut network.allowed } else { &mut network.denied };
                if text.is_empty() {
                    list.clear();
                }
                list.extend(new);
            }
            "SocketBindAllow" | "SocketBindDeny" => {
                let new = network_filter::ports(&self.context.expand(text)?)?;
                let network = &mut self.network;
                let list = if directive == "SocketBindAllow" {
                    &mut network.bind_allowed
                } else {
                    &mut network.bind_denied
                };
                if text.is_empty() {
                    list.clear();
                }
                list.extend(new);
            }
            "ProcSubset" => {
                let bit = sandbox::PROC_SUBSET_PID;
                let set = self.number(Key::Sandbox);
                match text {
                    "pid" => *set |= bit,
                    "all" => *set &= !bit,
                    _ => return Err("must be all or pid".into()),
                }
            }
            "OOMPolicy" => {
                let written = match text {
                    "continue" => "memory.oom.group=0",
                    "stop" | "kill" => "memory.oom.group=1",
                    _ => return Err("must be one of continue, stop, kill".into()),
                };
                self.extend(Key::CgroupWrites, text, Value::Texts(vec![written.to_owned()]));
            }
            "RestartMode" => {
                let flags = self.flags();
                *flags = match text {
                    "normal" => *flags & !flag::RESTART_DIRECT,
                    "direct" => *flags | flag::RESTART_DIRECT,
                    _ => return Err("must be one of normal, direct".into()),
                };
            }
            "Delegate" => {
                let controllers = ["cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "devices", "pids"];
                // Controllers by name: all that the kernel has are there in any case.
                let is_list = text.split_whitespace().all(|word| controllers.contains(&word));
                let on = if is_list { true } else { value::boolean(text)? };
                let flags = self.flags();
                *flags = if on { *flags | flag::DELEGATE } else { *flags & !flag::DELEGATE };
            }
            "ImportCredential" => {
                let pattern = self.context.expand(text)?;
                let name = pattern.split(':').next().unwrap_or_default();
                if name.contains('/') {
                    return Err("credentials' names have no slash".into());
                }
                self.extend(Key::ImportCredential, text, Value::Texts(vec![pattern]));
            }
            "SecureBits" => {
                let mask = process_value::secure_bits(text)?;
                *self.number(Key::SecureBits) |= mask;
                if text.is_empty() {
                    self.settings.remove(&Key::SecureBits);
                }
            }
            "LoadCredential" | "SetCredential" => {
                let key =
                    if directive == "LoadCredential" { Key::LoadCredential } else { Key::SetCredential };
                let pair =
                    process_value::credential(&self.context.expand(text)?, directive == "LoadCredential")?;
                self.extend(key, text, Value::Texts(pair.into_iter().collect()));
            }
            "IOSchedulingClass" | "IOSchedulingPriority" => {
                let before = match self.settings.get(&Key::IoPriority) {
                    Some(Value::Number(number)) => Some(*number),
                    _ => None,
                };
                let number = process_value::io_priority(before, directive == "IOSchedulingClass", text)?;
                self.settings.insert(Key::IoPriority, Value::Number(number));
            }
            "CPUSchedulingPolicy" | "CPUSchedulingPriority" | "CPUSchedulingResetOnFork" => {
                let mut numbers = match self.settings.get(&Key::CpuScheduling) {
                    Some(Value::Numbers(numbers)) => numbers.clone(),
                    _ => vec![0, 0, 0],
                };
                process_value::cpu_scheduling(&mut numbers, directive, text)?;
                self.settings.insert(Key::CpuScheduling, Value::Numbers(numbers));
            }
            "CPUAffinity" => {
                let cpus = process_value::cpus(text)?;
                self.extend(Key::CpuAffinity, text, Value::Numbers(cpus));
            }
            "TimerSlackNSec" => {
                let slack = match text.parse() {
                    Ok(number) => number,
                    Err(_) => value::time_span(text)?.saturating_mul(1000),
                };
                self.settings.insert(Key::TimerSlack, Value::Number(slack));
            }
            "DeviceAllow" => {
                let rule = process_value::device(&self.context.expand(text)?)?;
                self.extend(Key::DeviceAllow, text, Value::Texts(rule.into_iter().collect()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the unit has that directive about its processes.
    fn says(&self, directive: &str) -> bool {
        ["Service", "Socket"].iter().filter_map(|section| self.definition.sections.get(*section)).any(
            |section| {
                section.get(directive).is_some_and(|values| values.iter().any(|value| !value.is_empty()))
            },
        )
    }

    /// What sandbox settings mean for each other, for capabilities and for system calls (systemd.exec(5), at each directive).
    pub(super) fn finish_sandbox(&mut self) {
        let flags = *self.flags();
        if flags & flag::DYNAMIC_USER != 0 {
            *self.flags() |= flag::NO_NEW_PRIVILEGES;
            *self.number(Key::Sandbox) |=
                sandbox::PRIVATE_TMP | sandbox::REMOVE_IPC | sandbox::RESTRICT_SUID_SGID;
            self.settings.insert(Key::ProtectSystem, Value::Number(3));
            let home = self.number(Key::ProtectHome);
            if *home == 0 {
                *home = 2;
            }
        }
        // With another root the kernel's file systems are there unless the unit says no.
        if self.settings.contains_key(&Key::RootDirectory) && !self.says("MountAPIVFS") {
            *self.number(Key::Sandbox) |= sandbox::MOUNT_API_VFS;
        }
        let bits = match self.settings.get(&Key::Sandbox) {
            Some(Value::Number(bits)) => *bits,
            _ => 0,
        };
        let has = |bit: u64| bits & bit != 0;
        let mut mask = 0;
        for (bit, capabilities, group) in [
            (sandbox::PRIVATE_DEVICES, "CAP_MKNOD CAP_SYS_RAWIO", Some("@raw-io")),
            (sandbox::PROTECT_CLOCK, "CAP_SYS_TIME CAP_WAKE_ALARM", Some("@clock")),
            (sandbox::PROTECT_KERNEL_MODULES, "CAP_SYS_MODULE", Some("@module")),
            (sandbox::PROTECT_KERNEL_LOGS, "CAP_SYSLOG", Some("syslog")),
            (sandbox::PROTECT_HOSTNAME, "", Some("sethostname")),
        ] {
            if bit == sandbox::PROTECT_HOSTNAME && has(sandbox::PRIVATE_HOSTNAME) {
                continue;
            }
            if has(bit) {
                mask |= value::capabilities(capabilities).unwrap_or(0);
                self.wishes.denied_groups.extend(group);
            }
        }
        if has(sandbox::PROTECT_HOSTNAME) && !has(sandbox::PRIVATE_HOSTNAME) {
            self.wishes.denied_groups.push("setdomainname");
        }
        if mask != 0 {
            let fresh = !self.settings.contains_key(&Key::CapabilityBoundingSet);
            let set = self.number(Key::CapabilityBoundingSet);
            *set = if fresh { value::ALL_CAPABILITIES } else { *set } & !mask;
        }
        self.wishes.no_realtime = has(sandbox::RESTRICT_REALTIME);
        self.wishes.no_set_id_bits = has(sandbox::RESTRICT_SUID_SGID);
        self.wishes.lock_personality = has(sandbox::LOCK_PERSONALITY);
        self.wishes.no_writable_code = has(sandbox::MEMORY_DENY_WRITE_EXECUTE);
        if (has(sandbox::PRIVATE_DEVICES) || self.settings.contains_key(&Key::DeviceAllow))
            && !self.settings.contains_key(&Key::DevicePolicy)
        {
            // A list of what is allowed, or a /dev of its own, means that nothing else is.
            let policy = u64::from(has(sandbox::PRIVATE_DEVICES));
            self.settings.insert(Key::DevicePolicy, Value::Number(policy));
        }
        match network_filter::assemble(&self.network) {
            Ok(words) if words.is_empty() => {}
            Ok(words) => {
                self.settings.insert(Key::NetworkFilter, Value::Numbers(words));
            }
            Err(reason) => {
                let (directive, value) = ("IPAddressDeny".to_owned(), String::new());
                self.fault(Problem::BadValue { directive, value, reason });
            }
        }
        match seccomp::assemble(&self.wishes) {
            Ok(words) if words.is_empty() => {}
            Ok(words) => {
                self.settings.insert(Key::SeccompFilter, Value::Numbers(words));
            }
            Err(reason) => {
                let value = self.wishes.filter.join(" ");
                self.fault(Problem::BadValue { directive: "SystemCallFilter".into(), value, reason });
            }
        }
    }
}
