//! The gRPC door. It reads requests, asks the ledger, and says what it answered;
//! it calls nothing else and decides nothing.

pub mod accounts;
pub mod convert;
pub mod edge;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub mod health;
pub mod large;
mod options;
mod page;
mod render;
pub mod status;
mod stream;
mod webhooks;

use std::sync::{Arc, OnceLock};

use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::failpoint::failpoint;
use crate::ledger::{Ledger, LedgerError, Recorded};
use crate::network::Guard;
use crate::task::id::Revision;
use crate::task::state::{State, Task};
use accounts::Accounts;
use convert::Judge;

/// The generated types of the public contract.
#[allow(clippy::all, clippy::pedantic, missing_docs)]
pub mod pb {
    tonic::include_proto!("videogen.v1");

    /// The contract, described for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/videogen.bin"));
}

/// What the door opens to, once the house stands.
pub struct House {
    /// Where tasks are kept.
    pub ledger: Arc<Ledger>,
    /// What the models take.
    pub catalog: Arc<Catalog>,
    /// Who can buy.
    pub accounts: Accounts,
    /// Where links may lead.
    pub guard: Guard,
    /// Time, for estimates.
    pub clock: Clock,
    /// Whether events can be signed, and so sent.
    pub webhooks: bool,
}

/// The service. It answers NOT_READY until the house is there.
#[derive(Clone)]
pub struct Service {
    house: Arc<OnceLock<House>>,
    stop: CancellationToken,
    /// Writes that go on when their caller has gone; waited for at the end.
    writes: TaskTracker,
}

impl Service {
    /// A door to a house that is still being built. Streams end, and nothing new
    /// is accepted, once `stop` is called.
    pub fn new(stop: CancellationToken, writes: TaskTracker) -> Self {
        Self { house: Arc::default(), stop, writes }
    }

    /// Opens the door.
    pub fn open(&self, house: House) {
        // A second house would be a mistake of the caller's; the first one stays.
        let _ = self.house.set(house);
    }

    fn house(&self) -> Result<&House, Status> {
        self.house.get().ok_or_else(|| status::not_ready(false))
    }

    /// Does a write in a task of its own: a caller that goes away must not cut it
    /// off between the commit and its publication.
    async fn write<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, LedgerError>> + Send + 'static,
    ) -> Result<T, Status> {
        if self.stop.is_cancelled() {
            return Err(status::not_ready(true));
        }
        match self.writes.spawn(work).await {
            Ok(done) => done.map_err(|error| status::ledger(&error)),
            Err(panic) => Err(edge::incident(&panic)),
        }
    }
}

impl House {
    fn judge(&self) -> Judge<'_> {
        Judge { catalog: &self.catalog, accounts: &self.accounts, guard: &self.guard, webhooks: self.webhooks }
    }

    /// The task as it is shown now.
    async fn show(&self, task: &Task) -> pb::Task {
        // The place in the queue adorns; a task is shown without it too.
        let place = self.ledger.place(task).await.unwrap_or(None);
        let mut shown = render::task(task, place, self.clock.now());
        if task.state == State::Queued
            && let Some(hold) = self.ledger.held(&task.submission.account)
        {
            shown.warnings.push(render::held(&task.submission.account, &hold));
        }
        if task.state == State::Archiving && self.ledger.is_unkept(task.id) {
            shown.warnings.push(render::unkept());
        }
        shown
    }
}

#[tonic::async_trait]
impl pb::video_gen_server::VideoGen for Service {
    type WatchStream = BoxStream<'static, Result<pb::WatchResponse, Status>>;
    type DownloadVideoStream = BoxStream<'static, Result<pb::DownloadVideoResponse, Status>>;

    async fn submit(&self, request: Request<pb::SubmitRequest>) -> Result<Response<pb::SubmitResponse>, Status> {
        let house = self.house()?;
        let request = request.into_inner();
        let validate_only = request.validate_only;
        failpoint!("submit.arrived");
        let submission = house.judge().submission(request)?;
        if validate_only {
            let looked = house.ledger.look_at_images(submission).await;
            let submission = looked.map_err(|error| status::ledger(&error))?;
            let task = Some(render::submitted(&submission));
            return Ok(Response::new(pb::SubmitResponse { task }));
        }
        failpoint!("submit.decoded");
        let ledger = Arc::clone(&house.ledger);
        let submitted = self.write(async move { ledger.submit(submission).await }).await?;
        failpoint!("submit.answered");
        let task = Some(house.show(&submitted.task).await);
        let mut response = Response::new(pb::SubmitResponse { task });
        if submitted.replayed {
            response.metadata_mut().insert("videogen-replayed", tonic::metadata::MetadataValue::from_static("true"));
        }
        Ok(response)
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let house = self.house()?;
        if self.stop.is_cancelled() {
            return Err(status::not_ready(true));
        }
        let pb::WatchRequest { task_id, after_revision, filter } = request.into_inner();
        let watcher = stream::Watcher::new(Arc::clone(&self.house), self.stop.clone());
        match (task_id.as_str(), filter) {
            ("", None) => Err(status::field("task_id", "exactly one of task_id and filter is required")),
            ("", Some(_)) if after_revision != 0 => {
                Err(status::field("after_revision", "goes with task_id only: revisions are counted per task"))
            }
            ("", Some(filter)) => {
                let filter = house.judge().filter(Some(filter))?;
                let watch = house.ledger.watch_matching(filter).map_err(|error| status::ledger(&error))?;
                Ok(Response::new(watcher.matching(watch)))
            }
            (_, Some(_)) => Err(status::field("filter", "exactly one of task_id and filter is required")),
            (id, None) => {
                let id = convert::task_id(id)?;
                let watch = house.ledger.watch(id, Revision(after_revision)).await;
                Ok(Response::new(watcher.one(watch.map_err(|error| status::ledger(&error))?)))
            }
        }
    }

    async fn get_task(&self, request: Request<pb::GetTaskRequest>) -> Result<Response<pb::GetTaskResponse>, Status> {
        let house = self.house()?;
        let id = convert::task_id(&request.into_inner().task_id)?;
        let task = house.ledger.get(id).await.map_err(|error| status::ledger(&error))?;
        Ok(Response::new(pb::GetTaskResponse { task: Some(house.show(&task).await) }))
    }

    async fn list_tasks(
        &self,
        request: Request<pb::ListTasksRequest>,
    ) -> Result<Response<pb::ListTasksResponse>, Status> {
        let house = self.house()?;
        let pb::ListTasksRequest { filter, page_size, page_token } = request.into_inner();
        let size = page::size(page_size)?;
        let bound = page::binding(filter.as_ref());
        let filter = house.judge().filter(filter)?;
        let before = page::read(&page_token, &bound)?;
        let mut found = house.ledger.list(&filter, before, size + 1).await.map_err(|error| status::ledger(&error))?;
        let more = found.len() > size;
        found.truncate(size);
        let next_page_token = match found.last() {
            Some(last) if more => page::token(last.id, &bound),
            _ => String::new(),
        };
        let mut tasks = Vec::with_capacity(found.len());
        for task in &found {
            tasks.push(house.show(task).await);
        }
        Ok(Response::new(pb::ListTasksResponse { tasks, next_page_token }))
    }

    async fn cancel_task(
        &self,
        request: Request<pb::CancelTaskRequest>,
    ) -> Result<Response<pb::CancelTaskResponse>, Status> {
        let house = self.house()?;
        let id = convert::task_id(&request.into_inner().task_id)?;
        let ledger = Arc::clone(&house.ledger);
        match self.write(async move { ledger.cancel(id).await }).await? {
            Recorded::Task(task) => Ok(Response::new(pb::CancelTaskResponse { task: Some(house.show(&task).await) })),
            Recorded::NotAllowed(task) => Err(status::already_finished(&task)),
        }
    }

    async fn download_video(
        &self,
        request: Request<pb::DownloadVideoRequest>,
    ) -> Result<Response<Self::DownloadVideoStream>, Status> {
        let house = self.house()?;
        let pb::DownloadVideoRequest { task_id, offset } = request.into_inner();
        let id = convert::task_id(&task_id)?;
        let (task, artifact, bytes) =
            house.ledger.open_video(id, offset).await.map_err(|error| status::ledger(&error))?;
        debug_assert_eq!(task.state, State::Succeeded, "only a succeeded task has an artifact");
        let artifact = render::artifact(&artifact, task.output.as_ref());
        let header = pb::DownloadHeader { artifact: Some(artifact), offset };
        Ok(Response::new(stream::download(id, header, bytes, self.stop.clone())))
    }

    async fn get_download_link(
        &self,
        request: Request<pb::GetDownloadLinkRequest>,
    ) -> Result<Response<pb::GetDownloadLinkResponse>, Status> {
        let house = self.house()?;
        let pb::GetDownloadLinkRequest { task_id, lifetime } = request.into_inner();
        let id = convert::task_id(&task_id)?;
        let lifetime = convert::link_lifetime(lifetime)?;
        let linked = house.ledger.link_video(id, lifetime).await;
        let (task, artifact, url, expires) = linked.map_err(|error| status::ledger(&error))?;
        let artifact = Some(render::artifact(&artifact, task.output.as_ref()));
        Ok(Response::new(pb::GetDownloadLinkResponse { url, expire_time: Some(expires.into()), artifact }))
    }

    async fn list_models(
        &self,
        request: Request<pb::ListModelsRequest>,
    ) -> Result<Response<pb::ListModelsResponse>, Status> {
        let house = self.house()?;
        let wanted = request.into_inner().provider;
        let models = house.catalog.models().filter(|model| wanted.is_empty() || model.name.provider() == wanted);
        let models = models.map(|model| render::model(model, house.accounts.serve(model))).collect();
        Ok(Response::new(pb::ListModelsResponse { models }))
    }

    async fn list_webhook_deliveries(
        &self,
        request: Request<pb::ListWebhookDeliveriesRequest>,
    ) -> Result<Response<pb::ListWebhookDeliveriesResponse>, Status> {
        Ok(Response::new(webhooks::list(self.house()?, request.into_inner()).await?))
    }

    async fn replay_webhook_delivery(
        &self,
        request: Request<pb::ReplayWebhookDeliveryRequest>,
    ) -> Result<Response<pb::ReplayWebhookDeliveryResponse>, Status> {
        let house = self.house()?;
        let id = webhooks::id(&request.into_inner().id)?;
        let ledger = Arc::clone(&house.ledger);
        let announcement = self.write(async move { ledger.replay(id).await }).await?;
        let delivery = Some(webhooks::render(&house.ledger, &announcement));
        Ok(Response::new(pb::ReplayWebhookDeliveryResponse { delivery }))
    }
}
