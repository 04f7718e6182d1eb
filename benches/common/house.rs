//! The service as it is served, without supervisor and accounts: what is submitted
//! stays queued, and nothing is bought.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use videogen::api::accounts::{Accounts, Offer};
use videogen::api::edge::Edge;
use videogen::api::pb::video_gen_server::{VideoGen, VideoGenServer};
use videogen::api::{self, Service, pb};
use videogen::archive::{Archive, ArchiveSettings};
use videogen::catalog::Catalog;
use videogen::clock::Clock;
use videogen::ledger::Ledger;
use videogen::network::Guard;
use videogen::store::contract::TaskStore;
use videogen::store::{SledStore, StoreSettings};
use videogen::task::id::AccountName;

use super::Result;

/// A service over a store in a folder of its own.
pub struct House {
    pub store: Arc<SledStore>,
    pub ledger: Arc<Ledger>,
    pub service: Service,
    _folder: TempDir,
}

impl House {
    pub async fn open() -> Result<Self> {
        // The archive wants one, though nothing is fetched here.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Beside the build's output: that is a disk, while /tmp may be memory.
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let store = SledStore::open(&StoreSettings::new(folder.path().join("store"))).await?;
        let guard = Guard::new(&[] as &[&str])?;
        let archive = Arc::new(archive(folder.path(), guard.clone())?);
        let clock = Clock::system();
        let ledger = Arc::new(Ledger::new(Arc::clone(&store) as Arc<dyn TaskStore>, archive, clock.clone()));
        let account = Offer { name: AccountName::new("kling"), provider: "kling".to_owned(), api_key: true };
        let service = Service::new(CancellationToken::new(), TaskTracker::new());
        service.open(api::House {
            ledger: Arc::clone(&ledger),
            catalog: Arc::new(Catalog::built_in()),
            accounts: Accounts::new(vec![account]),
            guard,
            clock,
            webhooks: false,
        });
        Ok(Self { store, ledger, service, _folder: folder })
    }

    /// Submits a request through the service itself and hands back what is shown.
    pub async fn submit(&self, number: u64) -> Result<pb::Task> {
        let answer = self.service.submit(tonic::Request::new(request(number))).await?;
        Ok(answer.into_inner().task.ok_or("an answer without a task")?)
    }
}

fn archive(folder: &Path, guard: Guard) -> Result<Archive> {
    let url = format!("file:{}", folder.join("videos").display());
    Ok(Archive::open(&ArchiveSettings { url, ..ArchiveSettings::default() }, guard)?)
}

/// A request of about 1 KiB, hardly compressible.
pub fn request(number: u64) -> pb::SubmitRequest {
    let spec = pb::Spec {
        model: "kling/kling-v2-6".to_owned(),
        prompt: super::tasks::noise(number, 900),
        ..pb::Spec::default()
    };
    let request_id = format!("request-{}-{number}", std::process::id());
    pb::SubmitRequest { request_id, spec: Some(spec), ..pb::SubmitRequest::default() }
}

/// Serves as the app does.
pub async fn serve(service: Service) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = VideoGenServer::new(service).max_decoding_message_size(64 * 1024);
    let server = Server::builder()
        .layer(Edge::default())
        .max_concurrent_streams(256)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(256 * 1024)
        .add_routes(Routes::new(service));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))));
    Ok(address)
}

/// Serves as tonic does when left alone.
pub async fn serve_bare(service: impl VideoGen) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = Server::builder().max_concurrent_streams(256).add_service(VideoGenServer::new(service));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))));
    Ok(address)
}
