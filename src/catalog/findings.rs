//! What a check finds: the words of its result, and the place where they gather.

use crate::task::id::ModelName;
use crate::task::spec::{Spec, Warning};

/// Violations told at once.
const MAX_VIOLATIONS: usize = 20;

/// A spec that can be sent as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The spec, with the model's full name and without what was ignored.
    pub spec: Spec,
    /// What was ignored or could not be checked.
    pub warnings: Vec<Warning>,
}

/// A field that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Dotted path: "spec.provider_options.cfg_scale".
    pub field: String,
    /// What is allowed, for people.
    pub message: String,
    /// In which way it is wrong.
    pub kind: ViolationKind,
}

/// In which way a field is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViolationKind {
    /// Missing, out of range, of the wrong type, or at odds with another field.
    Invalid,
    /// Nothing that this model takes.
    Unsupported,
}

/// What a check found so far.
pub struct Findings<'a> {
    /// The model that is checked against.
    pub model: &'a ModelName,
    violations: Vec<Violation>,
    warnings: Vec<Warning>,
}

impl<'a> Findings<'a> {
    /// Nothing yet.
    pub fn new(model: &'a ModelName) -> Self {
        Self { model, violations: Vec::new(), warnings: Vec::new() }
    }

    /// The field has a wrong value, or one that another field forbids.
    pub fn invalid(&mut self, field: &str, message: String) {
        self.push(field, message, ViolationKind::Invalid);
    }

    /// The model takes no such thing.
    pub fn unsupported(&mut self, field: &str, message: String) {
        self.push(field, message, ViolationKind::Unsupported);
    }

    /// The spec, unless something stands in its way.
    pub fn verdict(self, spec: Spec) -> Result<Checked, Vec<Violation>> {
        if self.violations.is_empty() { Ok(Checked { spec, warnings: self.warnings }) } else { Err(self.violations) }
    }

    /// Whether the field was found wrong already.
    pub fn blames(&self, field: &str) -> bool {
        self.violations.iter().any(|violation| violation.field == field)
    }

    /// The field was ignored or could not be checked.
    pub fn warn(&mut self, field: &str, message: String) {
        self.warnings.push(Warning { field: field.to_owned(), message });
    }

    /// One violation per field: the first says what to mend first.
    fn push(&mut self, field: &str, message: String, kind: ViolationKind) {
        if self.violations.len() < MAX_VIOLATIONS && !self.blames(field) {
            self.violations.push(Violation { field: field.to_owned(), message, kind });
        }
    }
}

/// "5 or 10", "3 to 15".
pub fn seconds(list: &[u32]) -> String {
    match list {
        [first, _, .., last] if (*last - *first) as usize + 1 == list.len() => format!("{first} to {last}"),
        _ => either(&list.iter().map(u32::to_string).collect::<Vec<_>>()),
    }
}

/// "a, b or c".
pub fn either(words: &[String]) -> String {
    match words {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}
