//! What can be wrong with units. Each message names the unit, the place of its definition and what to do.

use std::fmt::Write as _;

/// One fault in one unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{unit}{}: {problem}", place(.defined_at.as_deref()))]
pub struct UnitError {
    /// The unit's name.
    pub unit: String,
    /// Where it is defined.
    pub defined_at: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

fn place(defined_at: Option<&str>) -> String {
    defined_at.map(|place| format!(" (defined at {place})")).unwrap_or_default()
}

/// The kinds of faults.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The name has no suffix that says what it is, or one that Firn does not do.
    #[error("the name's suffix `.{suffix}` is no kind of unit that Firn runs")]
    UnknownKind {
        /// The suffix.
        suffix: String,
    },
    /// No such section in this kind of unit.
    #[error("there is no section [{section}] in such a unit")]
    UnknownSection {
        /// The section.
        section: String,
    },
    /// No such directive, with the nearest one.
    #[error("[{section}] {directive}= is no directive{}", suggestion(.nearest.as_deref()))]
    UnknownDirective {
        /// The section.
        section: String,
        /// The directive.
        directive: String,
        /// The nearest known one.
        nearest: Option<String>,
    },
    /// A directive that systemd knows and Firn does not honour.
    #[error(
        "[{section}] {directive}= is not honoured by Firn yet, and {}; remove it",
        why(.directive)
    )]
    NotHonoured {
        /// The section.
        section: String,
        /// The directive.
        directive: String,
    },
    /// A value that the directive does not take.
    #[error("{directive}={value}: {reason}")]
    BadValue {
        /// The directive.
        directive: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A program that is not there.
    #[error("{directive}= runs {program}, which does not exist")]
    MissingProgram {
        /// The directive.
        directive: String,
        /// The program.
        program: String,
    },
    /// A user or group that nobody declares.
    #[error("{directive}={name}: the configuration declares no such {what}{}", suggestion(.nearest.as_deref()))]
    UnknownName {
        /// The directive.
        directive: String,
        /// The name.
        name: String,
        /// `user` or `group`.
        what: &'static str,
        /// The nearest declared one.
        nearest: Option<String>,
    },
    /// A required unit that does not exist.
    #[error("{directive}={target}: there is no such unit{}", suggestion(.nearest.as_deref()))]
    MissingUnit {
        /// The directive.
        directive: String,
        /// The unit asked for.
        target: String,
        /// The nearest one that exists.
        nearest: Option<String>,
    },
    /// A circle in the order of units.
    #[error("the units are ordered in a circle: {path}; take one After= or Before= away")]
    Cycle {
        /// The circle, its first unit at both ends.
        path: String,
    },
    /// A service that runs nothing.
    #[error(
        "the service has no ExecStart= (only Type=oneshot with RemainAfterExit=yes or ExecStop= may do without)"
    )]
    NothingToRun,
    /// A package's unit file that is not one.
    #[error("{message}")]
    UnitFile {
        /// What and where.
        message: String,
    },
}

/// Why a directive is refused.
fn why(directive: &str) -> &'static str {
    match directive {
        "PAMName" => {
            "a session would need libpam and its modules in the process that starts the service, which is process 1's static program; let the service run login, su or runuser"
        }
        _ => "leaving it out silently would change what the unit does",
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// Every fault found, so that a user mends them in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitErrors(pub Vec<UnitError>);

impl std::fmt::Display for UnitErrors {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        for error in &self.0 {
            let separator = if text.is_empty() { "" } else { "\n" };
            write!(text, "{separator}{error}")?;
        }
        formatter.write_str(&text)
    }
}

impl std::error::Error for UnitErrors {}
