//! The three doors: gRPC, provider callbacks, and the operator's page.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::health_server::HealthServer;
use tracing::error;

use super::StartError;
use crate::api::edge::Edge;
use crate::api::health::HealthService;
use crate::api::large::SUBMIT_BYTES;
use crate::api::pb::video_gen_server::VideoGenServer;
use crate::api::{Service, pb};
use crate::{admin, config, webhook};

/// The largest answer: a page holds many tasks.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// How much of a request is taken before it is read.
const WINDOW: u32 = 64 * 1024;
/// Streams on one connection; tonic's own default is no limit at all.
const STREAMS: u32 = 256;

/// Where the doors are.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// gRPC.
    pub grpc: SocketAddr,
    /// Provider callbacks.
    pub callback: SocketAddr,
    /// Metrics and health pages.
    pub admin: SocketAddr,
}

/// Doors with a place, not yet open.
pub(super) struct Bound {
    pub(super) addresses: Addresses,
    pub(super) grpc: TcpListener,
    pub(super) callback: TcpListener,
    pub(super) admin: TcpListener,
}

impl Bound {
    pub(super) async fn bind(server: &config::Server) -> Result<Self, StartError> {
        let grpc = bind("server.grpc_listen", server.grpc_listen).await?;
        let callback = bind("server.callback_listen", server.callback_listen).await?;
        let admin = bind("server.admin_listen", server.admin_listen).await?;
        let addresses = Addresses {
            grpc: local("server.grpc_listen", &grpc)?,
            callback: local("server.callback_listen", &callback)?,
            admin: local("server.admin_listen", &admin)?,
        };
        Ok(Self { addresses, grpc, callback, admin })
    }
}

async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError(format!("{key}: cannot listen on {address}: {error}")))
}

fn local(key: &str, listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError(format!("{key}: {error}")))
}

/// The service, health and reflection. Accepts at once; what is not ready says so.
pub(super) fn open_grpc(
    listener: TcpListener,
    service: Service,
    health: HealthService,
    closing: CancellationToken,
    doors: &mut JoinSet<()>,
) -> Result<(), StartError> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let described = |error| StartError(format!("reflection: {error}"));
    let videogen =
        VideoGenServer::new(service).max_decoding_message_size(SUBMIT_BYTES).max_encoding_message_size(ANSWER_BYTES);
    let health = HealthServer::new(health);
    let routes = Routes::new(videogen)
        .add_service(health)
        .add_service(reflection().build_v1().map_err(described)?)
        .add_service(reflection().build_v1alpha().map_err(described)?);
    let server = Server::builder()
        .layer(Edge::default())
        .max_concurrent_streams(STREAMS)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .http2_max_local_error_reset_streams(Some(1024))
        .http2_max_header_list_size(16 * 1024)
        .initial_stream_window_size(WINDOW)
        // Larger than what large requests that wait for their turn can hold of it.
        .initial_connection_window_size(16 * WINDOW)
        .add_routes(routes);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(Duration::from_secs(60)));
    doors.spawn(async move {
        if let Err(error) = server.serve_with_incoming_shutdown(incoming, closing.cancelled_owned()).await {
            error!(%error, "the gRPC door has failed");
        }
    });
    Ok(())
}

pub(super) fn open_admin(
    listener: TcpListener,
    pages: admin::Pages,
    closing: CancellationToken,
    doors: &mut JoinSet<()>,
) {
    doors.spawn(async move {
        let served = axum::serve(listener, admin::router(pages)).with_graceful_shutdown(closing.cancelled_owned());
        if let Err(error) = served.await {
            error!(%error, "the operator's door has failed");
        }
    });
}

pub(super) fn open_callbacks(
    listener: TcpListener,
    door: webhook::Door,
    closing: CancellationToken,
    doors: &mut JoinSet<()>,
) {
    doors.spawn(webhook::serve(listener, door, closing));
}
