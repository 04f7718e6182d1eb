//! One event's way: read from the store, written, sent, and then taken from the store
//! or parked. A try that failed writes nothing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{debug, error, info, warn};
use url::Url;

use super::letter::Letter;
use super::post::{Answer, Post};
use super::{AFTER_TROUBLE, Receivers};
use crate::clock::{Clock, since};
use crate::failpoint::{failpoint, hastened};
use crate::ledger::announce::Trial;
use crate::ledger::{Ledger, LedgerError};
use crate::task::announcement::Announcement;
use crate::task::backoff::{TELL_FOR, tell_again};
use crate::task::id::TaskId;
use crate::task::state::Task;

/// Why nothing more is sent to a receiver.
const GONE: &str = "HTTP status 410: the receiver wants no more";

/// An event with all that is needed to send it.
pub(super) struct Prepared {
    announcement: Announcement,
    task: Arc<Task>,
    /// Where it goes, if anybody has said that.
    url: Option<String>,
    /// Whether the receiver has said that it wants no more.
    gone: bool,
    /// Whose turn is counted.
    pub(super) host: String,
}

/// What comes after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The receiver has it.
    Told,
    /// It is not sent any more.
    Parked,
    /// Again after this long.
    Failed(Duration),
}

/// What every try needs.
pub(super) struct Round {
    pub(super) ledger: Arc<Ledger>,
    clock: Clock,
    receivers: Receivers,
    post: Post,
    /// The receivers of the settings that want no more, until the next start. There
    /// are no more of them than settings.
    gone: Mutex<HashSet<Url>>,
}

impl Round {
    pub(super) fn new(ledger: Arc<Ledger>, clock: Clock, receivers: Receivers, post: Post) -> Self {
        Self { ledger, clock, receivers, post, gone: Mutex::default() }
    }

    /// The next event of a task, if one waits.
    pub(super) async fn prepare(&self, id: TaskId) -> Result<Option<Prepared>, LedgerError> {
        let of_task = self.ledger.announcements_of(id).await?;
        let refused = of_task.iter().any(|known| known.parked.as_ref().is_some_and(|parked| parked.gone));
        let Some(announcement) = of_task.into_iter().find(|known| known.parked.is_none()) else { return Ok(None) };
        let task = match self.ledger.get(id).await {
            // It was removed; so are its announcements, but for one written at that moment.
            Err(LedgerError::Unknown(_)) => {
                self.ledger.told(announcement.id).await?;
                return Ok(None);
            }
            task => task?,
        };
        let common = self.receivers.of(&task);
        let refused = refused || common.is_some_and(|url| self.gone(|gone| gone.contains(url)));
        let gone = refused && announcement.replayed.is_none();
        let own = task.submission.webhook.as_ref().map(|webhook| webhook.url.clone());
        let url = own.or_else(|| common.map(Url::to_string));
        let host = url.as_deref().and_then(|url| Url::parse(url).ok()).map(|url| url.authority().to_owned());
        Ok(Some(Prepared { announcement, task, url, gone, host: host.unwrap_or_default() }))
    }

    /// Sends it, and notes what became of it.
    pub(super) async fn send(&self, prepared: Prepared, tries: u32) -> Next {
        let answer = self.answer(&prepared).await;
        let (announcement, id) = (&prepared.announcement, prepared.announcement.id);
        let over = since(self.clock.now(), announcement.since()) >= hastened(TELL_FOR);
        let outcome = match &answer {
            Answer::Taken => "taken",
            Answer::Gone => "gone",
            Answer::Failed { .. } if over => "given_up",
            Answer::Failed { .. } => "failed",
        };
        metrics::counter!("videogen_webhooks_total", "type" => announcement.topic.word(), "outcome" => outcome)
            .increment(1);
        let done = match answer {
            Answer::Taken => {
                failpoint!("webhook.taken");
                self.remember(&prepared, false);
                let lag = since(self.clock.now(), announcement.time);
                metrics::histogram!("videogen_webhook_lag_seconds").record(lag.as_secs_f64());
                debug!(task_id = %id.task, event = %id, kind = announcement.topic.word(), "told");
                let told = self.ledger.told(id).await;
                failpoint!("webhook.told");
                told.map(|()| Next::Told)
            }
            Answer::Gone => {
                self.remember(&prepared, true);
                info!(task_id = %id.task, event = %id, "parked: the receiver wants no more");
                self.ledger.park(announcement, true, GONE).await.map(|()| Next::Parked)
            }
            Answer::Failed { note, .. } if over => {
                warn!(task_id = %id.task, event = %id, note, "parked: it could not be told for a day");
                self.ledger.park(announcement, false, &note).await.map(|()| Next::Parked)
            }
            Answer::Failed { note, retry_after } => {
                let wait = hastened(tell_again(tries, retry_after, self.clock.jitter()));
                debug!(task_id = %id.task, event = %id, note, "not told yet");
                self.ledger.tried(Trial { id, tries: tries + 1, note, next: self.clock.now() + wait });
                Ok(Next::Failed(wait))
            }
        };
        done.unwrap_or_else(|error| {
            error!(task_id = %id.task, event = %id, %error, "what became of an event could not be noted");
            Next::Failed(AFTER_TROUBLE)
        })
    }

    async fn answer(&self, prepared: &Prepared) -> Answer {
        let Some(url) = &prepared.url else { return Answer::failed("the settings name no receiver") };
        if prepared.gone {
            return Answer::Gone;
        }
        if self.receivers.secrets.is_empty() {
            return Answer::failed("the settings hold no webhooks.secret to sign with");
        }
        let letter =
            Letter::write(url, &prepared.announcement, &prepared.task, &self.receivers.secrets, self.clock.now());
        match letter {
            Ok(letter) => {
                failpoint!("webhook.send");
                (self.post)(letter).await
            }
            Err(rejected) => Answer::failed(format!("it cannot be signed: {rejected}")),
        }
    }

    /// Whether the receiver of the settings wants no more; a task's own is remembered
    /// by what is parked of the task.
    fn remember(&self, prepared: &Prepared, is_gone: bool) {
        let Some(url) = self.receivers.of(&prepared.task) else { return };
        self.gone(|gone| if is_gone { gone.insert(url.clone()) } else { gone.remove(url) });
    }

    fn gone<T>(&self, work: impl FnOnce(&mut HashSet<Url>) -> T) -> T {
        work(&mut self.gone.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Receivers {
    /// The receiver that the settings name, where a task names none.
    fn of(&self, task: &Task) -> Option<&Url> {
        let submission = &task.submission;
        let named = self.accounts.get(&submission.account).or(self.url.as_ref());
        named.filter(|_| submission.webhook.is_none())
    }
}
