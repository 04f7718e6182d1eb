//! The command line as people type it, and `generate` and its kin against a
//! server that breaks off in the middle of everything.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use clap::CommandFactory;
use ring::digest::{SHA256, digest};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::api::pb;
use crate::api::pb::video_gen_server::{VideoGen, VideoGenServer};

use super::*;

const FILE: &[u8] = b"the whole of a video";

/// A server that loses its first answer to Submit, breaks every first stream, and
/// ends the task in the given state.
struct Shaky {
    end: pb::TaskState,
    calls: Arc<Mutex<Calls>>,
}

/// What the server was asked.
#[derive(Default)]
struct Calls {
    request_ids: Vec<String>,
    after_revisions: Vec<u64>,
    offsets: Vec<u64>,
    replayed: Vec<String>,
}

impl Shaky {
    fn task(&self, revision: u64) -> pb::Task {
        let state = match revision {
            1 => pb::TaskState::Queued,
            2 => pb::TaskState::Running,
            _ => self.end,
        };
        pb::Task { id: "0190".into(), revision, state: state.into(), ..Default::default() }
    }

    fn artifact() -> pb::Artifact {
        let sha256 = digest(&SHA256, FILE).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        pb::Artifact { size: FILE.len() as u64, sha256, media_type: "video/mp4".into(), ..Default::default() }
    }
}

type Answers<T> = tokio_stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

#[tonic::async_trait]
impl VideoGen for Shaky {
    type WatchStream = Answers<pb::WatchResponse>;
    type DownloadVideoStream = Answers<pb::DownloadVideoResponse>;

    async fn submit(&self, request: Request<pb::SubmitRequest>) -> Result<Response<pb::SubmitResponse>, Status> {
        let ids = &mut self.calls.lock().unwrap().request_ids;
        ids.push(request.into_inner().request_id);
        match ids.len() {
            1 => Err(Status::unavailable("the answer is lost")),
            _ => Ok(Response::new(pb::SubmitResponse { task: Some(self.task(1)) })),
        }
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let after = request.into_inner().after_revision;
        let revisions = &mut self.calls.lock().unwrap().after_revisions;
        revisions.push(after);
        let answer = |revision| {
            let event = Some(pb::watch_response::Event::Task(self.task(revision)));
            Ok(pb::WatchResponse { event })
        };
        let answers = match revisions.len() {
            1 => vec![answer(after + 1), answer(after + 2), Err(Status::unavailable("broken"))],
            // An end without a reason, as of a server that went away politely.
            2 => vec![],
            _ => vec![answer(after + 1)],
        };
        Ok(Response::new(tokio_stream::iter(answers)))
    }

    async fn get_task(&self, _: Request<pb::GetTaskRequest>) -> Result<Response<pb::GetTaskResponse>, Status> {
        Ok(Response::new(pb::GetTaskResponse { task: Some(self.task(2)) }))
    }

    async fn list_tasks(&self, _: Request<pb::ListTasksRequest>) -> Result<Response<pb::ListTasksResponse>, Status> {
        Ok(Response::new(pb::ListTasksResponse { tasks: vec![self.task(2)], next_page_token: "t".into() }))
    }

    async fn cancel_task(&self, _: Request<pb::CancelTaskRequest>) -> Result<Response<pb::CancelTaskResponse>, Status> {
        Err(Status::failed_precondition("the task has ended"))
    }

    async fn download_video(
        &self,
        request: Request<pb::DownloadVideoRequest>,
    ) -> Result<Response<Self::DownloadVideoStream>, Status> {
        let offset = request.into_inner().offset;
        let offsets = &mut self.calls.lock().unwrap().offsets;
        offsets.push(offset);
        let part = |part| Ok(pb::DownloadVideoResponse { part: Some(part) });
        let header = pb::DownloadHeader { artifact: Some(Self::artifact()), offset };
        let header = part(pb::download_video_response::Part::Header(header));
        let chunk = |bytes: &'static [u8]| part(pb::download_video_response::Part::Chunk(bytes.into()));
        let answers = match offsets.len() {
            1 => vec![header, chunk(&FILE[..7]), Err(Status::unavailable("broken"))],
            _ => vec![header, chunk(&FILE[offset as usize..])],
        };
        Ok(Response::new(tokio_stream::iter(answers)))
    }

    async fn get_download_link(
        &self,
        _: Request<pb::GetDownloadLinkRequest>,
    ) -> Result<Response<pb::GetDownloadLinkResponse>, Status> {
        Err(Status::unimplemented("not shaky"))
    }

    async fn list_models(&self, _: Request<pb::ListModelsRequest>) -> Result<Response<pb::ListModelsResponse>, Status> {
        Ok(Response::new(pb::ListModelsResponse { models: vec![pb::Model::default()] }))
    }

    async fn list_webhook_deliveries(
        &self,
        request: Request<pb::ListWebhookDeliveriesRequest>,
    ) -> Result<Response<pb::ListWebhookDeliveriesResponse>, Status> {
        // Two pages of one.
        let (id, next) = if request.into_inner().page_token.is_empty() { ("evt_1", "evt_1") } else { ("evt_2", "") };
        let delivery = pb::WebhookDelivery { id: id.into(), ..Default::default() };
        Ok(Response::new(pb::ListWebhookDeliveriesResponse {
            deliveries: vec![delivery],
            next_page_token: next.into(),
        }))
    }

    async fn replay_webhook_delivery(
        &self,
        request: Request<pb::ReplayWebhookDeliveryRequest>,
    ) -> Result<Response<pb::ReplayWebhookDeliveryResponse>, Status> {
        let id = request.into_inner().id;
        self.calls.lock().unwrap().replayed.push(id.clone());
        match id.as_str() {
            "evt_2" => Err(Status::not_found("it was delivered meanwhile")),
            _ => {
                let delivery = Some(pb::WebhookDelivery { id, ..Default::default() });
                Ok(Response::new(pb::ReplayWebhookDeliveryResponse { delivery }))
            }
        }
    }
}

/// Starts a shaky server; it ends with the test's runtime.
async fn shaky(end: pb::TaskState) -> (SocketAddr, Arc<Mutex<Calls>>) {
    let calls = Arc::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = VideoGenServer::new(Shaky { end, calls: Arc::clone(&calls) });
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (address, calls)
}

/// Runs a command line against an address and answers with its exit code.
async fn exit_code(address: SocketAddr, words: &[&str]) -> u8 {
    let server = format!("--server=http://{address}");
    let cli = Cli::try_parse_from(["videogen", &server].iter().chain(words)).unwrap();
    match dispatch(cli).await {
        Ok(outcome) => outcome.exit_code(),
        Err(trouble) => trouble.exit_code(),
    }
}

#[tokio::test]
async fn generate_resumes_wherever_it_was_broken_off() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fox.mp4");
    let (address, calls) = shaky(pb::TaskState::Succeeded).await;

    let code = exit_code(address, &["generate", "fox", "-m", "m", "-o", file.to_str().unwrap()]).await;

    assert_eq!(code, 0);
    assert_eq!(std::fs::read(&file).unwrap(), FILE);
    let calls = calls.lock().unwrap();
    assert_eq!(calls.request_ids.len(), 2);
    assert_eq!(calls.request_ids[0], calls.request_ids[1]);
    assert_eq!(calls.after_revisions, [0, 2, 2]);
    assert_eq!(calls.offsets, [0, 7]);
}

#[tokio::test]
async fn a_task_that_fails_is_exit_code_1_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fox.mp4");
    for end in [pb::TaskState::Failed, pb::TaskState::Cancelled] {
        let (address, calls) = shaky(end).await;
        let words = ["generate", "fox", "-m", "m", "--json", "-o", file.to_str().unwrap()];
        assert_eq!(exit_code(address, &words).await, 1);
        assert!(calls.lock().unwrap().offsets.is_empty() && !file.exists());
        let (address, _) = shaky(end).await;
        assert_eq!(exit_code(address, &["watch", "0190"]).await, 1);
    }
}

#[tokio::test]
async fn a_file_in_the_way_is_refused_before_anything_is_bought() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (address, calls) = shaky(pb::TaskState::Succeeded).await;
    let code = exit_code(address, &["generate", "fox", "-m", "m", "-o", file.path().to_str().unwrap()]).await;
    assert_eq!(code, 2);
    assert!(calls.lock().unwrap().request_ids.is_empty());
}

#[tokio::test]
async fn the_other_commands_answer_by_exit_code() {
    let (address, _) = shaky(pb::TaskState::Succeeded).await;
    for (words, code) in [("get 0190", 0), ("list --json", 0), ("models", 0), ("cancel 0190", 2)] {
        assert_eq!(exit_code(address, &words.split(' ').collect::<Vec<_>>()).await, code, "{words}");
    }
    assert_eq!(exit_code(address, &["watch", "0190", "--state", "running"]).await, 2);
}

#[tokio::test]
async fn all_parked_events_are_replayed_page_by_page_and_one_by_one_only_what_is_there() {
    let (address, calls) = shaky(pb::TaskState::Succeeded).await;
    assert_eq!(exit_code(address, &["webhooks", "list"]).await, 0);
    assert_eq!(exit_code(address, &["webhooks", "replay", "--all"]).await, 0);
    assert_eq!(calls.lock().unwrap().replayed, ["evt_1", "evt_2"]);
    assert_eq!(exit_code(address, &["webhooks", "replay", "evt_1", "--json"]).await, 0);
    assert_eq!(exit_code(address, &["webhooks", "replay", "evt_2"]).await, 2);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_exit_code_3() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let codes = tokio::join!(exit_code(address, &["get", "0190"]), exit_code(address, &["watch", "0190"]));
    assert_eq!(codes, (3, 3));
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn what_people_type_is_understood() {
    let lines = [
        "videogen generate fox -m kling/kling-3.0 -o fox.mp4",
        "videogen --server http://h:1 generate fox -m m --json",
        "videogen generate -m m --start-image a.png --end-image https://h/b.png --option cfg_scale=0.5 --no-audio",
        "videogen submit fox --model m --label team=a --label run=1 --timeout 30m --at-least-once 2 --validate-only",
        "videogen watch 0190 --after-revision 3 --patience 1h --json",
        "videogen watch --state running --label team=a",
        "videogen get 0190 --server http://h:1",
        "videogen list --state RUNNING --state queued --limit 5 --page-token x",
        "videogen cancel 0190",
        "videogen download 0190 -o a.mp4 --force",
        "videogen models --provider kling --json",
        "videogen submit fox -m m --webhook https://h/hook --webhook-updates",
        "videogen webhooks list --parked --task 0190 --limit 5 --json",
        "videogen webhooks replay evt_0190_7 evt_0190_8",
        "videogen webhooks replay --all --server http://h:1",
        "videogen serve --config a.toml --grpc-listen 127.0.0.1:0",
        "videogen simulator --listen 127.0.0.1:0 --ledger l.jsonl",
        "videogen demo",
        "videogen config",
    ];
    for line in lines {
        Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let lines = [
        "videogen",
        "videogen generate fox",
        "videogen watch --after-revision 3",
        "videogen webhooks replay",
        "videogen webhooks replay --all evt_0190_7",
        "videogen submit fox -m m --webhook-updates",
        "videogen submit fox -m m --at-least-once 4",
        "videogen submit fox -m m --timeout 30",
        "videogen submit fox -m m --seed -1",
        "videogen submit fox -m m --label team",
        "videogen submit fox -m m --option mode",
        "videogen submit fox -m m --audio --no-audio",
        "videogen list --state done",
        "videogen serve --json",
    ];
    for line in lines {
        let error = Cli::try_parse_from(line.split(' ')).map(|_| ()).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}
