//! How a Proxmox command fails: the text on stderr and the exit code.
//!
//! PVE dies with Perl exceptions. The exit code is `errno` as it happened to be, else 255, so only the codes that
//! were recorded mean anything; they are repeated here where they are known.

/// Exit code of a `die` while `errno` is unset.
pub(crate) const DIE: u8 = 255;

/// Exit code of failures found before the config was read: `errno` is then ENOENT, left over from loading modules.
pub(crate) const EARLY: u8 = 2;

/// Exit code when the VM's flock could not be had: `errno` is then EINTR.
pub(crate) const INTERRUPTED: u8 = 4;

/// Why a command, or one option of it, did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// One message.
    Died {
        /// Without the newline that Perl's `die` needs at its end.
        message: String,
        /// Exit code.
        code: u8,
    },
    /// What PVE calls a parameter exception; the command line adds its usage.
    BadRequest {
        /// What follows `400 `.
        headline: &'static str,
        /// Option and message. A message that came from a `die` ends with a newline of its own.
        errors: Vec<(String, String)>,
        /// Exit code.
        code: u8,
    },
    /// A fault on request ended the command; stderr has been written.
    Injected(u8),
}

impl Failure {
    /// A `die`.
    pub(crate) fn died(message: impl Into<String>) -> Self {
        Self::Died {
            message: message.into(),
            code: DIE,
        }
    }

    /// A parameter exception about one option, raised while working.
    pub(crate) fn parameter(option: impl Into<String>, message: impl Into<String>) -> Self {
        Self::parameters(vec![(option.into(), message.into())], DIE)
    }

    /// A parameter exception about several options.
    pub(crate) fn parameters(errors: Vec<(String, String)>, code: u8) -> Self {
        Self::BadRequest {
            headline: "Parameter verification failed.",
            errors,
            code,
        }
    }

    /// A command line that does not parse.
    pub(crate) fn unparsable(headline: &'static str) -> Self {
        Self::BadRequest {
            headline,
            errors: Vec::new(),
            code: EARLY,
        }
    }

    /// The text as Perl holds it, newline included.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Died { message, .. } => format!("{message}\n"),
            Self::BadRequest {
                headline, errors, ..
            } => {
                let lines = errors
                    .iter()
                    .map(|(option, message)| format!("{option}: {message}\n"));
                std::iter::once(format!("400 {headline}\n"))
                    .chain(lines)
                    .collect()
            }
            Self::Injected(_) => String::new(),
        }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Died { code, .. } | Self::BadRequest { code, .. } | Self::Injected(code) => *code,
        }
    }
}

/// Result of anything that PVE does.
pub(crate) type Done<T> = Result<T, Failure>;
