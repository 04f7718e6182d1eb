//! Hides the words of a request in what a provider tells of its job. Failures like
//! to quote the prompt, and what is told of a failure goes into the log.

use super::contract::Trouble;
use super::redact::one_line;
use crate::task::event::Observation;
use crate::task::spec::Spec;

const HIDDEN: &str = "***";

/// From so many bytes on, the beginning of a prompt at the end of a text that was cut
/// is taken for a quotation.
const LEAST_QUOTED: usize = 12;

/// What a poll told, without the words of the request.
pub fn without_words(told: Result<Observation, Trouble>, spec: &Spec) -> Result<Observation, Trouble> {
    let words = Words::of(spec);
    match told {
        Ok(Observation::Failed { mut failure, charges }) => {
            failure.message = words.hidden_in(&failure.message);
            Ok(Observation::Failed { failure, charges })
        }
        Ok(Observation::Pending(mut progress)) => {
            for line in &mut progress.log_lines {
                *line = words.hidden_in(line);
            }
            Ok(Observation::Pending(progress))
        }
        Err(trouble) => Err(Trouble { reason: words.hidden_in(&trouble.reason), ..trouble }),
        told => told,
    }
}

/// The prompts of a request in the forms in which they are quoted: on one line, as
/// everything that providers say is, plainly and as JSON writes them.
struct Words(Vec<String>);

impl Words {
    fn of(spec: &Spec) -> Self {
        let forms = [&spec.prompt, &spec.negative_prompt].into_iter().flat_map(|words| {
            let quoted = serde_json::Value::from(words.as_str()).to_string();
            [one_line(quoted.trim_matches('"')), one_line(words)]
        });
        let mut forms: Vec<String> = forms.filter(|form| form.len() >= 4).collect();
        // One may be within another.
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        Self(forms)
    }

    fn hidden_in(&self, text: &str) -> String {
        let whole = self.0.iter().fold(text.to_owned(), |text, form| text.replace(form.as_str(), HIDDEN));
        let Some(begun) = whole.strip_suffix("...") else { return whole };
        let quoted = self.0.iter().filter_map(|form| quotation(begun, form)).min();
        quoted.map_or_else(|| whole.clone(), |start| format!("{}{HIDDEN}...", &begun[..start]))
    }
}

/// Where the text, which was cut, begins to quote the form to its end.
fn quotation(text: &str, form: &str) -> Option<usize> {
    let first = form.chars().next()?;
    let starts = text.match_indices(first).map(|(start, _)| start);
    starts.take_while(|start| text.len() - start >= LEAST_QUOTED).find(|start| form.starts_with(&text[*start..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::id::ModelName;
    use crate::task::state::{Failure, FailureKind, Progress};

    fn spec() -> Spec {
        let model = ModelName::parse("kling/kling-3.0").unwrap();
        let negative_prompt = "no hats".to_owned();
        Spec { prompt: "a \"red\" kite\nover the dunes of Laos".into(), negative_prompt, ..Spec::new(model) }
    }

    #[test]
    fn a_quoted_prompt_is_hidden_in_every_form() {
        let words = Words::of(&spec());
        for (text, shown) in [
            ("refused: a \"red\" kite over the dunes of Laos", "refused: ***"),
            (r#"{"prompt":"a \"red\" kite\nover the dunes of Laos"}"#, r#"{"prompt":"***"}"#),
            ("no hats, no hats", "***, ***"),
            ("it says a \"red\" kite over the du...", "it says ***..."),
            ("a kite of another colour...", "a kite of another colour..."),
            ("a \"red\"...", "a \"red\"..."),
            ("nothing of it", "nothing of it"),
        ] {
            assert_eq!(words.hidden_in(text), shown);
        }
    }

    #[test]
    fn failures_log_lines_and_troubles_quote_nothing() {
        let quoting = "because of no hats".to_owned();
        let failure = Failure::charged(FailureKind::Moderated, quoting.clone());
        let failed = without_words(Ok(Observation::Failed { failure, charges: Vec::new() }), &spec());
        assert!(matches!(failed, Ok(Observation::Failed { failure, .. }) if failure.message == "because of ***"));
        let progress = Progress { log_lines: vec![quoting.clone()], ..Progress::default() };
        let pending = without_words(Ok(Observation::Pending(progress)), &spec());
        assert!(matches!(pending, Ok(Observation::Pending(progress)) if progress.log_lines == ["because of ***"]));
        let trouble = Trouble { reason: quoting, retry_after: None, denied: false };
        let told = without_words(Err(trouble), &spec());
        assert!(matches!(told, Err(trouble) if trouble.reason == "because of ***"));
    }
}
