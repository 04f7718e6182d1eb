//! What receivers have not taken: listed, and sent once more.

use tonic::Status;

use super::{House, convert, page, pb, status};
use crate::ledger::{Ledger, LedgerError};
use crate::task::announcement::{Announcement, AnnouncementId};
use crate::task::id::TaskId;

/// One page of events.
pub(super) async fn list(
    house: &House,
    request: pb::ListWebhookDeliveriesRequest,
) -> Result<pb::ListWebhookDeliveriesResponse, Status> {
    let pb::ListWebhookDeliveriesRequest { task_id, parked_only, page_size, page_token } = request;
    let size = page::size(page_size)?;
    let after = match page_token.as_str() {
        "" => None,
        token => Some(token.parse().map_err(|_| status::page_token())?),
    };
    let parked = parked_only.then_some(true);
    let found = match task_id.as_str() {
        "" => house.ledger.announcements(parked, after, size + 1).await,
        id => of_task(&house.ledger, convert::task_id(id)?, parked, after).await,
    };
    let mut found = found.map_err(|error| status::ledger(&error))?;
    let more = found.len() > size;
    found.truncate(size);
    let next_page_token = found.last().filter(|_| more).map(|last| last.id.to_string()).unwrap_or_default();
    let deliveries = found.iter().map(|announcement| render(&house.ledger, announcement)).collect();
    Ok(pb::ListWebhookDeliveriesResponse { deliveries, next_page_token })
}

async fn of_task(
    ledger: &Ledger,
    task: TaskId,
    parked: Option<bool>,
    after: Option<AnnouncementId>,
) -> Result<Vec<Announcement>, LedgerError> {
    let mut found = ledger.announcements_of(task).await?;
    found.retain(|known| parked.is_none_or(|parked| known.parked.is_some() == parked));
    found.retain(|known| after.is_none_or(|after| known.id > after));
    Ok(found)
}

/// Reads an event's id. One that cannot be an id is one that no event has.
pub(super) fn id(text: &str) -> Result<AnnouncementId, Status> {
    match text {
        "" => Err(status::field("id", "is required")),
        text => text.parse().map_err(|_| status::delivery_not_found(text)),
    }
}

/// An event as it is shown.
pub(super) fn render(ledger: &Ledger, announcement: &Announcement) -> pb::WebhookDelivery {
    let Announcement { id, topic, time, shown: _, replayed: _, parked } = announcement;
    let trial = ledger.trial(*id);
    let state = match parked {
        Some(_) => pb::WebhookDeliveryState::Parked,
        None => pb::WebhookDeliveryState::Waiting,
    };
    let note = parked.as_ref().map(|parked| parked.note.clone()).or(trial.as_ref().map(|trial| trial.note.clone()));
    pb::WebhookDelivery {
        id: id.to_string(),
        task_id: id.task.to_string(),
        revision: id.revision.0,
        r#type: topic.word().to_owned(),
        state: state.into(),
        event_time: Some((*time).into()),
        tries: trial.as_ref().map_or(0, |trial| trial.tries),
        last_error: note.unwrap_or_default(),
        next_try_time: trial.map(|trial| trial.next.into()),
        park_time: parked.as_ref().map(|parked| parked.time.into()),
    }
}
