//! One unit's directives to its settings, each by its rule in [`crate::directive`].

mod process;

use super::switch_flags;
use crate::command_line;
use crate::definition::{GraphInput, UnitDefinition};
use crate::directive::{self, CgroupValue, Rule};
use crate::error::{Problem, UnitError};
use crate::nearest::nearest;
use crate::network_filter;
use crate::process_value;
use crate::seccomp;
use crate::specifier::Context;
use crate::value;
use formats::service_graph::UnitKind;
use formats::service_graph::builder::{Settings, Value};
use formats::service_graph::key::{Key, condition, flag, service_type, standard_io};
use std::path::Path;

/// Directives of `[Unit]` whose change is no reason to restart (NixOS, "What happens during a system switch").
const NOT_IN_FINGERPRINT: [&str; 12] = [
    "X-Reload-Triggers",
    "X-Restart-Triggers",
    "Description",
    "Documentation",
    "OnFailure",
    "OnSuccess",
    "StopWhenUnneeded",
    "RefuseManualStart",
    "RefuseManualStop",
    "AllowIsolate",
    "CollectMode",
    "SourcePath",
];

/// Reads one unit.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    name: &'a str,
    definition: &'a UnitDefinition,
    input: &'a GraphInput,
    context: Context<'a>,
    /// What was read.
    pub(super) settings: Settings,
    /// RequiresMountsFor= and WantsMountsFor=.
    pub(super) mounts_for: Vec<(Key, Vec<String>)>,
    /// What is said about system calls.
    wishes: seccomp::Wishes,
    /// What is said about the network.
    pub(super) network: network_filter::Wishes,
    /// What the slices above say about it.
    above: network_filter::Wishes,
    /// What was wrong.
    pub(super) errors: Vec<UnitError>,
}

impl<'a> Reader<'a> {
    /// A reader of that unit.
    pub(super) fn new(name: &'a str, definition: &'a UnitDefinition, input: &'a GraphInput) -> Self {
        Self {
            name,
            definition,
            input,
            context: Context { unit: name },
            settings: Settings::new(),
            mounts_for: Vec::new(),
            wishes: seccomp::Wishes::default(),
            network: network_filter::Wishes::default(),
            above: network_filter::Wishes::default(),
            errors: Vec::new(),
        }
    }

    /// With what the slices above the unit say about the network.
    pub(super) fn below(mut self, above: network_filter::Wishes) -> Self {
        self.above = above;
        self
    }

    fn fault(&mut self, problem: Problem) {
        let defined_at = self.definition.defined_at.clone();
        self.errors.push(UnitError { unit: self.name.to_owned(), defined_at, problem });
    }

    fn flags(&mut self) -> &mut u64 {
        self.number(Key::Flags)
    }

    /// A number setting to change in place, 0 at first.
    fn number(&mut self, key: Key) -> &mut u64 {
        let slot = self.settings.entry(key).or_insert(Value::Number(0));
        if !matches!(slot, Value::Number(_)) {
            *slot = Value::Number(0);
        }
        match slot {
            Value::Number(number) => number,
            _ => unreachable!("made a number above"),
        }
    }

    /// Reads all sections.
    pub(super) fn read(&mut self) {
        let Some(kind) = UnitKind::of_name(self.name) else {
            let suffix = self.name.rsplit_once('.').map_or("", |(_, suffix)| suffix).to_owned();
            self.fault(Problem::UnknownKind { suffix });
            return;
        };
        let own = match kind {
            UnitKind::Service => "Service",
            UnitKind::Target => "Target",
            UnitKind::Mount => "Mount",
            UnitKind::Socket => "Socket",
            UnitKind::Timer => "Timer",
            UnitKind::Path => "Path",
            UnitKind::Slice => "Slice",
            UnitKind::Swap => "Swap",
        };
        let definition = self.definition;
        for (section, directives) in &definition.sections {
            if section.starts_with("X-") {
                continue;
            }
            if section != "Unit" && section != "Install" && section != own {
                self.fault(Problem::UnknownSection { section: section.clone() });
                continue;
            }
            for (directive, values) in directives {
                self.directive(section, directive, values);
            }
        }
        self.finish(kind);
    }

    fn directive(&mut self, section: &str, directive: &str, values: &[String]) {
        let Some(rule) = directive::rule(section, directive) else {
            let (section, directive) = (section.to_owned(), directive.to_owned());
            if directive::is_known(&section, &directive) {
                self.fault(Problem::NotHonoured { section, directive });
            } else {
                let mut names = directive::names(&section);
                names.extend(directive::known(&section).map(str::to_owned));
                let nearest = nearest(&directive, names.iter().map(String::as_str));
                self.fault(Problem::UnknownDirective { section, directive, nearest });
            }
            return;
        };
        for value in values {
            if let Err(reason) = self.value(section, directive, rule, value) {
                let (directive, value) = (directive.to_owned(), value.clone());
                self.fault(Problem::BadValue { directive, value, reason });
            }
        }
    }

    /// Adds to a list setting; an empty text resets it.
    #[expect(clippy::match_same_arms, reason = "each arm's list is of another type")]
    fn extend(&mut self, key: Key, text: &str, new: Value) {
        if text.is_empty() {
            self.settings.remove(&key);
            return;
        }
        match (self.settings.get_mut(&key), new) {
            (Some(Value::Texts(list)), Value::Texts(more)) => list.extend(more),
            (Some(Value::Units(list)), Value::Units(more)) => list.extend(more),
            (Some(Value::Numbers(list)), Value::Numbers(more)) => list.extend(more),
            (Some(Value::Tagged(list)), Value::Tagged(more)) => list.extend(more),
            (Some(Value::Commands(list)), Value::Commands(more)) => list.extend(more),
            (_, new) => {
                self.settings.insert(key, new);
            }
        }
    }

    fn words(&self, text: &str) -> Result<Vec<String>, String> {
        value::words(text)?.iter().map(|word| self.context.expand(word)).collect()
    }

    #[expect(clippy::too_many_lines, reason = "one arm a rule: the table's other half")]
    fn value(&mut self, section: &str, directive: &str, rule: Rule, text: &str) -> Result<(), String> {
        let set = |settings: &mut Settings, key: Key, value: Value| {
            settings.insert(key, value);
        };
        match rule {
            Rule::Informative => {}
            Rule::Compiler => return self.by_name(section, directive, text),
            Rule::Units(key) => {
                let names = self.words(text)?;
                self.extend(key, text, Value::Units(names));
            }
            Rule::Flag(bits) => {
                let on = value::boolean(text)?;
                let flags = self.flags();
                *flags = if on { *flags | bits } else { *flags & !bits };
            }
            Rule::FlagOnNo(bits) => {
                let on = value::boolean(text)?;
                let flags = self.flags();
                *flags = if on { *flags & !bits } else { *flags | bits };
            }
            Rule::Sandbox(bits) => {
                let on = value::boolean(text)?;
                let set = self.number(Key::Sandbox);
                *set = if on { *set | bits } else { *set & !bits };
            }
            Rule::SandboxOr(bits, others) => {
                let other = others.iter().find(|(word, _)| *word == text).map(|(_, more)| *more);
                let on = if other.is_some() { true } else { value::boolean(text)? };
                let all = others.iter().fold(bits, |all, (_, more)| all | more);
                let set = self.number(Key::Sandbox);
                *set &= !all;
                if on {
                    *set |= bits | other.unwrap_or(0);
                }
            }
            Rule::Text(_) if text.is_empty() => {}
            Rule::Text(key) => {
                let expanded = self.context.expand(text)?;
                set(&mut self.settings, key, Value::Text(expanded));
            }
            Rule::Words(key) => {
                let words = self.words(text)?;
                self.extend(key, text, Value::Texts(words));
            }
            Rule::OptionalPaths(key) => {
                let mut pairs = Vec::new();
                for word in self.words(text)? {
                    let path = word.trim_start_matches(['-', '+']);
                    if !path.starts_with('/') {
                        return Err(format!("`{path}` is not an absolute path"));
                    }
                    let prefix = word.strip_suffix(path).unwrap_or_default();
                    let tag = u32::from(prefix.contains('-')) | u32::from(prefix.contains('+')) << 1;
                    pairs.push((tag, path.to_owned()));
                }
                self.extend(key, text, Value::Tagged(pairs));
            }
            Rule::Time(key) => set(&mut self.settings, key, Value::Number(value::time_span(text)?)),
            Rule::Times(key) => {
                let span = if text.is_empty() { 0 } else { value::time_span(text)? };
                self.extend(key, text, Value::Numbers(vec![span]));
            }
            Rule::Number(key) => {
                let number = text.parse().map_err(|_| "not a number".to_owned())?;
                set(&mut self.settings, key, Value::Number(number));
            }
            Rule::Offset(key, offset, low, high) => {
                let number: i64 = text.parse().map_err(|_| "not a number".to_owned())?;
                if number < low || number > high {
                    return Err(format!("must lie between {low} and {high}"));
                }
                set(&mut self.settings, key, Value::Number((number + offset) as u64));
            }
            Rule::Mode(key) => set(&mut self.settings, key, Value::Number(value::mode(text)?)),
            Rule::Choice(key, choices) => {
                let found = choices.iter().find(|(word, _)| *word == text).ok_or_else(|| {
                    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                    format!("must be one of {}", words.join(", "))
                })?;
                set(&mut self.settings, key, Value::Number(found.1));
            }
            Rule::Signal(key) => set(&mut self.settings, key, Value::Number(value::signal(text)?)),
            Rule::Statuses(key) => {
                let statuses =
                    text.split_whitespace().map(value::exit_status).collect::<Result<Vec<_>, _>>()?;
                self.extend(key, text, Value::Numbers(statuses));
            }
            Rule::Commands(key) => {
                let commands = command_line::parse(text, &self.context)?;
                for command in &commands {
                    self.check_program(directive, &command.program);
                }
                self.extend(key, text, Value::Commands(commands));
            }
            // An empty one takes back all of them.
            Rule::Condition(key, _) if text.is_empty() => {
                self.settings.remove(&key);
            }
            Rule::Condition(key, code) => {
                let (trigger, rest) =
                    text.strip_prefix('|').map_or((0, text), |rest| (condition::TRIGGER, rest));
                let rest = rest.trim_start();
                let (negate, rest) =
                    rest.strip_prefix('!').map_or((0, rest), |rest| (condition::NEGATE, rest));
                let argument = condition_argument(code, &self.context.expand(rest.trim_start())?)?;
                self.extend(key, text, Value::Tagged(vec![(code | trigger | negate, argument)]));
            }
            Rule::Limit(resource, is_size) => {
                let one = |text: &str| if is_size { value::bytes(text) } else { limit(resource, text) };
                let (soft, hard) = text.split_once(':').unwrap_or((text, text));
                let numbers = vec![resource, one(soft)?, one(hard)?];
                self.extend(Key::Limits, text, Value::Numbers(numbers));
            }
            Rule::Stream(key) if text.is_empty() => {
                self.settings.remove(&key);
            }
            Rule::Stream(key) => {
                let stream = stream(&self.context.expand(text)?)?;
                set(&mut self.settings, key, Value::Tagged(vec![stream]));
            }
            Rule::Capabilities(key) => {
                let (invert, names) = text.strip_prefix('~').map_or((false, text), |rest| (true, rest));
                let mask = value::capabilities(names)?;
                let fresh = !self.settings.contains_key(&key);
                let set = self.number(key);
                *set = match (invert, fresh) {
                    (false, _) if text.is_empty() => 0,
                    (false, _) => *set | mask,
                    (true, true) => value::ALL_CAPABILITIES & !mask,
                    (true, false) => *set & !mask,
                };
            }
            Rule::Tagged(key, tag) => {
                let expanded = self.context.expand(text)?;
                self.extend(key, text, Value::Tagged(vec![(tag, expanded)]));
            }
            Rule::Cgroup(file, how) => {
                let written = cgroup_value(how, text)?;
                self.extend(Key::CgroupWrites, text, Value::Texts(vec![format!("{file}={written}")]));
            }
        }
        Ok(())
    }

    /// Directives with a meaning of their own.
    fn by_name(&mut self, section: &str, directive: &str, text: &str) -> Result<(), String> {
        match (section, directive) {
            ("Unit", "RequiresMountsFor" | "WantsMountsFor") => {
                let key = if directive == "RequiresMountsFor" { Key::Requires } else { Key::Wants };
                let paths = self.words(text)?;
                self.mounts_for.push((key, paths));
            }
            ("Unit", "X-Restart-Triggers" | "X-Reload-Triggers") => {
                let key = if directive == "X-Restart-Triggers" {
                    Key::RestartTriggers
                } else {
                    Key::ReloadTriggers
                };
                self.settings.insert(key, Value::Text(text.to_owned()));
            }
            (_, "TimeoutSec") => {
                let span = value::time_span(text)?;
                for key in [Key::TimeoutStart, Key::TimeoutStop] {
                    self.settings.insert(key, Value::Number(span));
                }
            }
            (_, "WorkingDirectory") => {
                let (optional, path) = text.strip_prefix('-').map_or((false, text), |path| (true, path));
                let path = self.context.expand(path)?;
                if path != "~" && !path.starts_with('/') && !path.is_empty() {
                    return Err("neither an absolute path nor ~".into());
                }
                if optional {
                    *self.flags() |= flag::WORKING_DIRECTORY_OPTIONAL;
                }
                if !path.is_empty() {
                    self.settings.insert(Key::WorkingDirectory, Value::Text(path));
                }
            }
            ("Socket", "Service") | ("Timer" | "Path", "Unit") => {
                let target = self.context.expand(text)?;
                self.settings.insert(Key::Triggers, Value::Units(vec![target]));
            }
            ("Timer", "OnCalendar") => {
                if !text.is_empty() {
                    let calendar = formats::calendar::Calendar::parse(&self.context.expand(text)?)?;
                    self.extend(Key::OnCalendar, text, Value::Texts(vec![calendar.to_string()]));
                    return Ok(());
                }
                self.settings.remove(&Key::OnCalendar);
            }
            ("Swap", "Priority") => {
                let priority: i64 = text.parse().map_err(|_| "not a number".to_owned())?;
                if !(-1..=32767).contains(&priority) {
                    return Err("must lie between -1 and 32767".into());
                }
                self.settings.insert(Key::SwapPriority, Value::Number((priority + 1) as u64));
            }
            ("Service" | "Socket" | "Mount" | "Swap" | "Slice", _) => {
                return self.process_directive(directive, text);
            }
            // [Install] is carried out when all units are read.
            _ => {}
        }
        Ok(())
    }

    /// Whether a program in the store exists.
    fn check_program(&mut self, directive: &str, program: &str) {
        if self.input.store_paths_checked
            && program.starts_with("/nix/store/")
            && !Path::new(program).exists()
        {
            self.fault(Problem::MissingProgram { directive: directive.into(), program: program.into() });
        }
    }

    /// What follows from several directives together, and the checks that need all of them.
    fn finish(&mut self, kind: UnitKind) {
        let definition = self.definition;
        *self.flags() |= switch_flags(definition);
        let x = &definition.x;
        for (key, text) in
            [(Key::RestartTriggers, &x.restart_triggers), (Key::ReloadTriggers, &x.reload_triggers)]
        {
            if let Some(text) = text {
                self.settings.insert(key, Value::Text(text.clone()));
            }
        }
        if let Some(place) = &definition.defined_at {
            self.settings.insert(Key::DefinedAt, Value::Text(place.clone()));
        }
        self.settings.insert(Key::Fingerprint, Value::Number(self.fingerprint()));
        if *self.flags() == 0 {
            self.settings.remove(&Key::Flags);
        }
        if kind == UnitKind::Socket {
            self.finish_sandbox();
            self.check_names();
        }
        match kind {
            UnitKind::Service => {
                self.network.join(&self.above);
                self.finish_sandbox();
                self.finish_service();
            }
            UnitKind::Socket | UnitKind::Timer | UnitKind::Path
                if !self.settings.contains_key(&Key::Triggers) =>
            {
                let target =
                    self.name.rsplit_once('.').map_or(self.name, |(name, _)| name).to_owned() + ".service";
                self.settings.insert(Key::Triggers, Value::Units(vec![target]));
            }
            _ => {}
        }
    }

    /// The unit is an instance that waits for a connection.
    pub(super) fn serves_connection(&mut self) {
        *self.flags() |= flag::FOR_CONNECTION;
    }

    fn finish_service(&mut self) {
        let has = |settings: &Settings, key| settings.contains_key(&key);
        if !has(&self.settings, Key::Type) {
            let kind = if has(&self.settings, Key::BusName) {
                service_type::DBUS
            } else if has(&self.settings, Key::ExecStart) {
                service_type::SIMPLE
            } else {
                service_type::ONESHOT
            };
            self.settings.insert(Key::Type, Value::Number(kind));
        }
        let is_oneshot = self.settings.get(&Key::Type) == Some(&Value::Number(service_type::ONESHOT));
        let remains = matches!(self.settings.get(&Key::Flags), Some(Value::Number(n)) if n & flag::REMAIN_AFTER_EXIT != 0);
        let may_be_empty = is_oneshot && (remains || has(&self.settings, Key::ExecStop));
        if !has(&self.settings, Key::ExecStart) && !may_be_empty {
            self.fault(Problem::NothingToRun);
        }
        self.check_names();
    }

    /// Whether its users and groups will be there.
    fn check_names(&mut self) {
        let input = self.input;
        for (key, directive, what, known) in
            [(Key::User, "User", "user", &input.users), (Key::Group, "Group", "group", &input.groups)]
        {
            let Some(Value::Text(name)) = self.settings.get(&key).cloned() else { continue };
            self.check_name(directive, what, known, &name);
        }
        if let Some(Value::Texts(groups)) = self.settings.get(&Key::SupplementaryGroups).cloned() {
            for name in groups {
                self.check_name("SupplementaryGroups", "group", &input.groups, &name);
            }
        }
    }

    fn check_name(&mut self, directive: &str, what: &'static str, known: &[String], name: &str) {
        let is_known = known.is_empty() || name == "root" || name.parse::<u32>().is_ok();
        if !is_known && !known.iter().any(|other| other == name) {
            let nearest = nearest(name, known.iter().map(String::as_str));
            let (directive, name) = (directive.to_owned(), name.to_owned());
            self.fault(Problem::UnknownName { directive, name, what, nearest });
        }
    }

    /// FNV-1a over all that matters to a running instance.
    fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut mix = |text: &str| {
            for byte in text.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        for (section, directives) in
            self.definition.sections.iter().filter(|(section, _)| *section != "Install")
        {
            for (directive, values) in directives {
                if section == "Unit" && NOT_IN_FINGERPRINT.contains(&directive.as_str()) {
                    continue;
                }
                mix(section);
                mix(directive);
                for value in values {
                    mix(value);
                }
            }
        }
        if self.above != network_filter::Wishes::default() {
            mix(&format!("{:?}", self.above));
        }
        hash
    }
}

/// A condition's argument as the machine compares it: capabilities as their numbers, yes/no as one word.
fn condition_argument(code: u32, text: &str) -> Result<String, String> {
    match code {
        condition::CAPABILITY => Ok(value::capabilities(text)?.trailing_zeros().to_string()),
        condition::AC_POWER | condition::FIRST_BOOT => {
            Ok(if value::boolean(text)? { "yes" } else { "no" }.to_owned())
        }
        condition::PATH_EXISTS..=condition::FILE_IS_EXECUTABLE | condition::NEEDS_UPDATE
            if !text.starts_with('/') =>
        {
            Err(format!("`{text}` is not an absolute path"))
        }
        _ => Ok(text.to_owned()),
    }
}

fn count(text: &str) -> Result<u64, String> {
    if text == "infinity" { Ok(u64::MAX) } else { text.parse().map_err(|_| "not a number".into()) }
}

/// A limit that is no size: seconds of CPU and microseconds of real time as spans as well, niceness with a sign as such
/// (setrlimit(2), systemd.exec(5)).
fn limit(resource: u64, text: &str) -> Result<u64, String> {
    const CPU: u64 = 0;
    const NICE: u64 = 13;
    const REAL_TIME: u64 = 15;
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    match resource {
        CPU if !is_number && text != "infinity" => Ok(value::time_span(text)?.div_ceil(1_000_000)),
        REAL_TIME if !is_number => value::time_span(text),
        NICE if text.starts_with(['+', '-']) => match text.parse::<i64>() {
            Ok(nice @ -20..=19) => Ok((20 - nice) as u64),
            _ => Err("not a niceness from -20 to 19".into()),
        },
        _ => count(text),
    }
}

/// StandardInput=, StandardOutput=, StandardError=.
fn stream(text: &str) -> Result<(u32, String), String> {
    for (prefix, tag) in
        [("file:", standard_io::FILE), ("append:", standard_io::APPEND), ("truncate:", standard_io::TRUNCATE)]
    {
        if let Some(path) = text.strip_prefix(prefix) {
            return if path.starts_with('/') {
                Ok((tag, path.into()))
            } else {
                Err("the path is not absolute".into())
            };
        }
    }
    let tag =
        match text {
            "null" => standard_io::NULL,
            "journal" | "syslog" | "kmsg" => standard_io::LOG,
            "journal+console" | "syslog+console" | "kmsg+console" => standard_io::LOG_AND_CONSOLE,
            "inherit" => standard_io::INHERIT,
            "tty" | "tty-force" | "tty-fail" => standard_io::TTY,
            "socket" => standard_io::SOCKET,
            _ => return Err(
                "must be null, journal, journal+console, inherit, tty, socket, file:, append: or truncate:"
                    .into(),
            ),
        };
    Ok((tag, String::new()))
}

fn cgroup_value(how: CgroupValue, text: &str) -> Result<String, String> {
    let or_max = |number: u64| if number == u64::MAX { "max".to_owned() } else { number.to_string() };
    match how {
        CgroupValue::Bytes => {
            if text.ends_with('%') {
                return Err("a share of the machine's memory is not known before it runs; give a size".into());
            }
            value::bytes(text).map(or_max)
        }
        CgroupValue::Count => count(text).map(or_max),
        CgroupValue::Weight => match count(text) {
            Ok(weight @ 1..=10000) => Ok(weight.to_string()),
            _ => Err("must lie between 1 and 10000".into()),
        },
        CgroupValue::CpuList => {
            let cpus = process_value::cpus(text)?;
            Ok(cpus.iter().map(u64::to_string).collect::<Vec<_>>().join(","))
        }
        CgroupValue::CpuQuota => {
            let percent: u64 =
                text.trim_end_matches('%').parse().map_err(|_| "not a percentage".to_owned())?;
            Ok(format!("{} 100000", percent * 1000))
        }
    }
}
