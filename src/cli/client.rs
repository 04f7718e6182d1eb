//! The connection to the server: deadlines, and how a call is repeated. Every
//! method may be repeated, because Submit carries the same request id each time.

use std::error::Error;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use crate::api::pb::video_gen_client::VideoGenClient;
use crate::config::parse_duration;

use super::trouble::Trouble;

const DEFAULT_SERVER: &str = "http://127.0.0.1:50051";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The server breaks its silence every 15 s.
pub(super) const SILENCE: Duration = Duration::from_secs(45);
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_HINT: Duration = Duration::from_secs(15);
/// Messages hold whole pages of tasks; more than any of them takes.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

pub(super) type Stub = VideoGenClient<Channel>;

/// What every client command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection and output")]
pub(super) struct ClientArgs {
    /// The server to call [default: http://127.0.0.1:50051]
    #[arg(long, value_name = "URL", env = "VIDEOGEN_SERVER", hide_env_values = true)]
    server: Option<String>,

    /// Print JSON instead of text: one document, or a line per event where there are many.
    #[arg(long)]
    pub(super) json: bool,

    /// How long a server that was reached before may stay away before the command gives up.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    patience: Duration,
}

/// A server, connected to when first called.
#[derive(Debug)]
pub(super) struct Client {
    channel: Channel,
    stub: Stub,
    server: String,
    patience: Duration,
}

impl Client {
    /// Takes the address given after the command, before it, or the default.
    pub(super) fn new(before: Option<String>, args: &ClientArgs) -> Result<Self, Trouble> {
        let named = before.or_else(|| args.server.clone()).filter(|server| !server.is_empty());
        let server = named.unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        if !server.starts_with("http://") {
            return Err(Trouble::Usage(format!(
                "--server {server}: expected http://HOST:PORT; TLS is left to a proxy"
            )));
        }
        let endpoint = Endpoint::from_shared(server.clone())
            .map_err(|error| Trouble::Usage(format!("--server {server}: {error}")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(15));
        let channel = endpoint.connect_lazy();
        let stub = VideoGenClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { channel, stub, server, patience: args.patience })
    }

    pub(super) fn stub(&self) -> Stub {
        self.stub.clone()
    }

    /// The connection, for other services of the same server.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Sends a call with one answer, a few times if need be.
    pub(super) async fn call<R>(
        &self,
        send: impl AsyncFn(Stub) -> Result<Response<R>, Status>,
    ) -> Result<Response<R>, Trouble> {
        let mut outage = self.first_contact();
        loop {
            let answer = self.once(&send).await;
            match answer {
                Ok(answer) => return Ok(answer),
                Err(status) => outage.wait(status).await?,
            }
        }
    }

    /// Sends a call with one answer, once.
    pub(super) async fn once<R>(
        &self,
        send: impl AsyncFn(Stub) -> Result<Response<R>, Status>,
    ) -> Result<Response<R>, Status> {
        let late = || Status::deadline_exceeded("the server did not answer in time");
        tokio::time::timeout(CALL_TIMEOUT, send(self.stub())).await.unwrap_or_else(|_| Err(late()))
    }

    /// What to say of a status that no further try will mend.
    pub(super) fn given_up(&self, status: Status) -> Trouble {
        match is_out_of_reach(&status) {
            true => Trouble::Unreachable { server: self.server.clone(), status: Box::new(status) },
            false => status.into(),
        }
    }

    /// For a first call: a wrong address should be told soon.
    pub(super) fn first_contact(&self) -> Outage {
        Outage { server: self.server.clone(), patience: self.patience, reached: false, failures: 0, since: None }
    }

    /// For a stream after calls that were answered: worth the whole patience.
    pub(super) fn later_contact(&self) -> Outage {
        Outage { reached: true, ..self.first_contact() }
    }
}

/// A stretch of time without answers, and how much more of it is borne.
#[derive(Debug)]
pub(super) struct Outage {
    server: String,
    patience: Duration,
    reached: bool,
    failures: u32,
    since: Option<Instant>,
}

impl Outage {
    /// An answer came.
    pub(super) fn over(&mut self) {
        self.reached = true;
        self.failures = 0;
        self.since = None;
    }

    /// Whether the server ever answered.
    pub(super) fn was_reached(&self) -> bool {
        self.reached
    }

    /// Whether nothing has failed since the last answer.
    pub(super) fn is_new(&self) -> bool {
        self.since.is_none()
    }

    /// Waits before the next try, or says that there should be none.
    pub(super) async fn wait(&mut self, status: Status) -> Result<(), Trouble> {
        if !is_worth_repeating(&status) {
            return Err(status.into());
        }
        self.failures += 1;
        let since = *self.since.get_or_insert_with(Instant::now);
        let enough = match self.reached {
            true => since.elapsed() >= self.patience,
            false => self.failures >= TRIES,
        };
        match (enough, is_out_of_reach(&status)) {
            (true, true) => Err(Trouble::Unreachable { server: self.server.clone(), status: Box::new(status) }),
            (true, false) => Err(status.into()),
            (false, _) => {
                tokio::time::sleep(self.pause(&status)).await;
                Ok(())
            }
        }
    }

    fn pause(&self, status: &Status) -> Duration {
        let hint = status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap_or_default();
        let grown = FIRST_WAIT.saturating_mul(1 << self.failures.saturating_sub(1).min(10)).min(LONGEST_WAIT);
        // Clients that lost the same server should not come back all at once.
        grown.mul_f64(rand::random_range(0.5..1.0)).max(hint.min(LONGEST_HINT))
    }
}

/// Whether the status was made on this side, because the connection broke.
fn is_broken(status: &Status) -> bool {
    status.source().is_some()
}

fn is_out_of_reach(status: &Status) -> bool {
    is_broken(status) || matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
}

fn is_worth_repeating(status: &Status) -> bool {
    let with_hint = || status.get_details_retry_info().is_some();
    is_out_of_reach(status)
        || status.code() == Code::Aborted
        || (status.code() == Code::ResourceExhausted && with_hint())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_repeated() {
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Aborted] {
            assert!(is_worth_repeating(&Status::new(code, "")), "{code:?}");
        }
        for code in
            [Code::InvalidArgument, Code::NotFound, Code::AlreadyExists, Code::ResourceExhausted, Code::DataLoss]
        {
            assert!(!is_worth_repeating(&Status::new(code, "")), "{code:?}");
        }
        let broken = Status::from_error(Box::new(std::io::Error::other("reset by peer")));
        assert!(is_worth_repeating(&broken));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_never_reached_is_given_up_soon_and_a_known_one_late() {
        let args = ClientArgs { server: None, json: false, patience: Duration::from_secs(300) };
        let client = Client::new(None, &args).unwrap();
        for (mut outage, at_least, at_most) in [(client.first_contact(), 0, 10), (client.later_contact(), 300, 306)] {
            let start = Instant::now();
            let trouble = loop {
                if let Err(trouble) = outage.wait(Status::unavailable("down")).await {
                    break trouble;
                }
            };
            assert_eq!(trouble.exit_code(), 3);
            assert!((at_least..=at_most).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        }
    }
}
