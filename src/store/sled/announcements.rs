//! What is to be told, read back.

use super::SledStore;
use crate::store::announcement;
use crate::store::contract::StoreError;
use crate::task::announcement::{Announcement, AnnouncementId};

impl SledStore {
    /// A page of announcements by their ids.
    pub(super) async fn announcements_after(
        &self,
        parked: Option<bool>,
        after: Option<AnnouncementId>,
        limit: usize,
    ) -> Result<Vec<Announcement>, StoreError> {
        let mut after = after;
        loop {
            let ids = self.shared.index().announcements_after(parked, after, limit);
            let Some(last) = ids.last().copied() else {
                self.alive()?;
                return Ok(Vec::new());
            };
            let page = self.read_announcements(ids).await?;
            // An empty page means the end, so one of mere gaps is passed over.
            if !page.is_empty() {
                return Ok(page);
            }
            after = Some(last);
        }
    }

    /// Reads announcements that are durable. A damaged one is reported and leaves a
    /// gap, like one that was told meanwhile.
    pub(super) async fn read_announcements(&self, ids: Vec<AnnouncementId>) -> Result<Vec<Announcement>, StoreError> {
        let opened = self.shared.opened()?;
        let reading = tokio::task::spawn_blocking(move || {
            let rows = ids.into_iter().map(|id| Ok((id, opened.get(&announcement::key(id))?)));
            rows.collect::<Result<Vec<_>, StoreError>>()
        });
        let rows = reading.await.map_err(|error| self.failed_read(&error))?;
        let rows = rows.inspect_err(|error| self.shared.stop(&error.to_string()))?;
        let read = rows.into_iter().filter_map(|(id, row)| {
            let read = announcement::read_row(&announcement::key(id), &row?);
            if read.is_none() {
                tracing::error!(announcement = %id, "an announcement is damaged and left out");
            }
            read
        });
        Ok(read.collect())
    }
}
