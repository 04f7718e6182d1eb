//! What one would write first: the same contract without store, ledger or checks.
//! The reference that the real service is measured beside.

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use videogen::api::pb;
use videogen::api::pb::video_gen_server::VideoGen;

/// Answers at once with the task it shows, and streams it as it changes.
pub struct Bare(pub watch::Receiver<pb::Task>);

#[tonic::async_trait]
impl VideoGen for Bare {
    type WatchStream = BoxStream<'static, Result<pb::WatchResponse, Status>>;
    type DownloadVideoStream = BoxStream<'static, Result<pb::DownloadVideoResponse, Status>>;

    async fn submit(&self, _: Request<pb::SubmitRequest>) -> Result<Response<pb::SubmitResponse>, Status> {
        Ok(Response::new(pb::SubmitResponse { task: Some(self.0.borrow().clone()) }))
    }

    async fn watch(&self, _: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let tasks = WatchStream::new(self.0.clone());
        let messages = tasks.map(|task| Ok(pb::WatchResponse { event: Some(pb::watch_response::Event::Task(task)) }));
        Ok(Response::new(messages.boxed()))
    }

    async fn get_task(&self, _: Request<pb::GetTaskRequest>) -> Result<Response<pb::GetTaskResponse>, Status> {
        Err(absent())
    }

    async fn list_tasks(&self, _: Request<pb::ListTasksRequest>) -> Result<Response<pb::ListTasksResponse>, Status> {
        Err(absent())
    }

    async fn cancel_task(&self, _: Request<pb::CancelTaskRequest>) -> Result<Response<pb::CancelTaskResponse>, Status> {
        Err(absent())
    }

    async fn download_video(
        &self,
        _: Request<pb::DownloadVideoRequest>,
    ) -> Result<Response<Self::DownloadVideoStream>, Status> {
        Err(absent())
    }

    async fn get_download_link(
        &self,
        _: Request<pb::GetDownloadLinkRequest>,
    ) -> Result<Response<pb::GetDownloadLinkResponse>, Status> {
        Err(absent())
    }

    async fn list_models(&self, _: Request<pb::ListModelsRequest>) -> Result<Response<pb::ListModelsResponse>, Status> {
        Err(absent())
    }

    async fn list_webhook_deliveries(
        &self,
        _: Request<pb::ListWebhookDeliveriesRequest>,
    ) -> Result<Response<pb::ListWebhookDeliveriesResponse>, Status> {
        Err(absent())
    }

    async fn replay_webhook_delivery(
        &self,
        _: Request<pb::ReplayWebhookDeliveryRequest>,
    ) -> Result<Response<pb::ReplayWebhookDeliveryResponse>, Status> {
        Err(absent())
    }
}

fn absent() -> Status {
    Status::unimplemented("not a part of the reference")
}
