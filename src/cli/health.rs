//! `videogen health`: the question that containers ask.

use clap::Args;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::client::{Client, ClientArgs};
use super::text::print;
use super::trouble::{Outcome, Trouble};

/// Ask whether the server serves.
///
/// Ends with 0 when it does, 1 when it does not (yet, or any longer), 3 when it cannot be reached. Asks once: for a
/// container's health check.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  videogen health --server http://127.0.0.1:50051")]
pub(super) struct HealthArgs {
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn run(server: Option<String>, args: HealthArgs) -> Result<Outcome, Trouble> {
    let client = Client::new(server, &args.client)?;
    let request = HealthCheckRequest { service: String::new() };
    let answer = client.once(async |_| HealthClient::new(client.channel()).check(request.clone()).await).await;
    let serving = match answer {
        Ok(answer) => answer.into_inner().status() == ServingStatus::Serving,
        Err(status) => return Err(client.given_up(status)),
    };
    let word = if serving { "SERVING" } else { "NOT_SERVING" };
    match args.client.json {
        true => print(&serde_json::json!({ "status": word }).to_string())?,
        false => print(word)?,
    }
    Ok(if serving { Outcome::Done } else { Outcome::TaskFailed })
}
