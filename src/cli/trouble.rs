//! How a command ends: its outcome or its trouble, the words for either, and the
//! exit code that scripts rely on.

use std::error::Error;
use std::fmt;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::text::escape;

/// How a command ended when nothing stood in its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It did what was asked.
    Done,
    /// The task ended without a video.
    TaskFailed,
    /// The user left; the task goes on.
    Interrupted,
    /// Something was wrong and is not any more.
    Repaired,
    /// Something is wrong that only a human can judge.
    NeedsHuman,
}

impl Outcome {
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::TaskFailed | Self::Repaired => 1,
            Self::NeedsHuman => 2,
            Self::Interrupted => 130,
        }
    }
}

/// Why a command could not do what was asked.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server answered with an error, or its answer did not arrive.
    Status(Box<Status>),
    /// The server could not be reached in the time allowed.
    Unreachable { server: String, status: Box<Status> },
    /// The arguments or settings cannot be meant.
    Usage(String),
    /// Something on this machine went wrong.
    Local(String),
    /// A check or a repair that could not run at all.
    CannotRun(String),
}

impl Trouble {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Status(status) => match status.code() {
                // The request was in order; what the server holds is not.
                Code::Internal | Code::DataLoss | Code::Unknown => 1,
                _ => 2,
            },
            Self::Unreachable { .. } | Self::CannotRun(_) => 3,
            Self::Usage(_) => 2,
            Self::Local(_) => 1,
        }
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write_status(f, status),
            Self::Unreachable { server, status } => {
                write_status(f, status)?;
                write!(f, "\n  no answer from {server}; 'videogen serve' starts a server, --server names another")
            }
            Self::Usage(message) | Self::Local(message) | Self::CannotRun(message) => write!(f, "error: {message}"),
        }
    }
}

fn write_status(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    write!(f, "error: {}", code_name(status.code()))?;
    if let Some(info) = status.get_details_error_info() {
        write!(f, " ({})", escape(&info.reason))?;
    }
    write!(f, ": {}", escape(status.message()))?;
    // For a connection that was refused, the useful words are the innermost.
    if let Some(cause) = innermost(status) {
        write!(f, ": {}", escape(&cause))?;
    }
    for violation in status.get_details_bad_request().into_iter().flat_map(|details| details.field_violations) {
        write!(f, "\n  {}: {}", escape(&violation.field), escape(&violation.description))?;
    }
    for violation in status.get_details_precondition_failure().into_iter().flat_map(|details| details.violations) {
        write!(f, "\n  {}: {}", escape(&violation.subject), escape(&violation.description))?;
    }
    for violation in status.get_details_quota_failure().into_iter().flat_map(|details| details.violations) {
        write!(f, "\n  {}: {}", escape(&violation.subject), escape(&violation.description))?;
    }
    Ok(())
}

fn innermost(status: &Status) -> Option<String> {
    let mut cause = status.source()?;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let cause = cause.to_string();
    (!status.message().contains(&cause)).then_some(cause)
}

/// The canonical name of a code.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    #[test]
    fn a_refusal_lists_the_fields_at_fault() {
        let mut details = ErrorDetails::with_error_info("FIELD_INVALID", "videogen", std::collections::HashMap::new());
        details.add_bad_request_violation("spec.duration", "expected 5 or 10\x1b[2J");
        let status = Status::with_error_details(Code::InvalidArgument, "1 field is wrong", details);
        let trouble = Trouble::from(status);
        let expected = "error: INVALID_ARGUMENT (FIELD_INVALID): 1 field is wrong\n  spec.duration: expected 5 or 10";
        assert!(trouble.to_string().starts_with(expected), "{trouble}");
        assert!(!trouble.to_string().contains('\x1b'));
        assert_eq!(trouble.exit_code(), 2);
    }
}
