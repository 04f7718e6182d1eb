//! Callers that insist: each repeats its request, under the same request id, until
//! it is answered, wherever the server is by then. Their acknowledgements are the
//! first of the three ledgers.

#![allow(dead_code, reason = "each row uses a part of it")]

use std::time::Duration;

use pb::{FailureKind, TaskState};
use tokio::sync::watch;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt;
use videogen::api::pb;

use crate::site::Client;

/// One model for each way of speaking to a provider.
pub const MODELS: [&str; 3] = ["kling/kling-3.0", "kling/kling-v2-6", "fal/fal-ai/veo3.1"];

/// How long one call may take before it is repeated.
const CALL: Duration = Duration::from_secs(10);
/// How long a caller insists before that is a failure.
const INSISTENCE: Duration = Duration::from_secs(900);

/// How a task may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hope {
    /// With its video. It may also be unknown whether the video was bought, unless
    /// the provider has it and offers a look-up.
    Video,
    /// Refused by the provider, with nothing bought.
    Refusal,
    /// In any final state.
    End,
    /// It may stay open.
    Nothing,
}

/// A request, as a caller has it in hand.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What is sent, each time the same.
    pub request: pb::SubmitRequest,
    /// How it may end.
    pub hope: Hope,
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// The request.
    pub asked: Asked,
    /// The task that it became.
    pub task: String,
}

impl Asked {
    /// A request that is unlike any other, also on the wire: the name must be.
    pub fn video(model: &str, name: &str) -> Self {
        Self::with(model, name, "", Hope::Video)
    }

    /// The same with `[sim:...]` directives in its prompt.
    pub fn with(model: &str, name: &str, directives: &str, hope: Hope) -> Self {
        let prompt = format!("a red kite over dunes, {name} {directives}").trim_end().to_owned();
        let spec = Some(pb::Spec { model: model.to_owned(), prompt, ..Default::default() });
        Self { request: pb::SubmitRequest { request_id: name.to_owned(), spec, ..Default::default() }, hope }
    }
}

impl Hope {
    /// Whether the task has come to an end, as far as it has to.
    pub fn has_ended(self, task: &pb::Task, bought: bool) -> bool {
        let end = matches!(task.state(), TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled);
        // What was bought can be found, late if need be, and is then followed to its end.
        let found = !task.provider_job_id.is_empty();
        let followed = found && task.failure.as_ref().is_some_and(|failure| failure.recoverable_until.is_some());
        self == Self::Nothing || end && !followed && !(is_unknown(task) && bought)
    }

    /// Whether that end is one that may be.
    pub fn allows(self, task: &pb::Task) -> bool {
        let unknown = is_unknown(task);
        match self {
            Self::Video => task.state() == TaskState::Succeeded || unknown,
            Self::Refusal => unknown || is_refused(task),
            Self::End | Self::Nothing => true,
        }
    }
}

/// Whether nobody knows if the task has bought something.
pub fn is_unknown(task: &pb::Task) -> bool {
    let kind = task.failure.as_ref().map(pb::Failure::kind);
    task.state() == TaskState::Failed
        && kind == Some(FailureKind::SubmitOutcomeUnknown)
        && task.provider_job_id.is_empty()
}

fn is_refused(task: &pb::Task) -> bool {
    use FailureKind as K;
    let refusals = [K::ProviderRefused, K::Moderated, K::ProviderAuth, K::ProviderFunds];
    let refused = task.failure.as_ref().is_some_and(|failure| refusals.contains(&failure.kind()));
    task.state() == TaskState::Failed && refused
}

/// Submits until there is an answer. An answer that no repetition can mend is a
/// failure.
pub async fn insist(mut door: watch::Receiver<Option<Channel>>, asked: Asked) -> Result<Acknowledged, String> {
    let insisted = async {
        loop {
            let channel = door.borrow_and_update().clone();
            if let Some(channel) = channel
                && let Some(task) = submit(channel, &asked).await?
            {
                return Ok(Acknowledged { asked, task });
            }
            // Either it has moved, or it was not quite there yet.
            let _ = tokio::time::timeout(Duration::from_millis(50), door.changed()).await;
        }
    };
    match tokio::time::timeout(INSISTENCE, insisted).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("a caller had no answer within {INSISTENCE:?}")),
    }
}

/// One call. Nothing when it is to be repeated.
pub async fn submit(channel: Channel, asked: &Asked) -> Result<Option<String>, String> {
    let Ok(answer) = tokio::time::timeout(CALL, Client::new(channel).submit(asked.request.clone())).await else {
        return Ok(None);
    };
    match answer {
        Ok(answer) => match answer.into_inner().task {
            Some(task) => Ok(Some(task.id)),
            None => Err("an answer without a task".to_owned()),
        },
        // Every word of the service names its reason; anything else is a connection that
        // broke, or a stranger who has been given the port of a server that died.
        Err(status) if status.get_details_error_info().is_none() => Ok(None),
        Err(status) => match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => Ok(None),
            _ => Err(format!("{} was refused: {status}", asked.request.request_id)),
        },
    }
}
