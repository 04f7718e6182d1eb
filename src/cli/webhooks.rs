//! `videogen webhooks`: the events that receivers have not taken, and sending them
//! once more.

use clap::{Args, Subcommand};
use serde_json::json;
use tonic::Code;

use crate::api::pb;

use super::client::{Client, ClientArgs};
use super::json;
use super::text::{columns, escape, print, say, since, span};
use super::trouble::{Outcome, Trouble};

/// How many events one page holds while all are replayed.
const PAGE: i32 = 500;

/// List the events that receivers have not taken, or send them once more.
///
/// An event waits until its receiver takes it. After a day of tries, or when the receiver answers 410, it is parked: it
/// is not sent any more until it is replayed. Delivered events are not kept.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  videogen webhooks list --parked
  videogen webhooks replay evt_0197c2b4-7f5e-7d3a-9f00-000000000001_7
  videogen webhooks replay --all")]
pub(super) struct WebhooksArgs {
    #[command(subcommand)]
    command: WebhooksCommand,
}

#[derive(Debug, Subcommand)]
enum WebhooksCommand {
    /// List the events that receivers have not taken.
    List(ListArgs),
    /// Send events at once; a parked one is tried for another day if need be.
    Replay(ReplayArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only events of this task.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    task: String,

    /// Only parked events.
    #[arg(long)]
    parked: bool,

    /// How many at most, 1 to 500.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=500))]
    limit: i32,

    /// Go on where the page before ended.
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    page_token: String,

    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// The events' ids.
    #[arg(value_name = "EVENT", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,

    /// Every event that is parked.
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn run(server: Option<String>, args: WebhooksArgs) -> Result<Outcome, Trouble> {
    match args.command {
        WebhooksCommand::List(args) => list(server, args).await,
        WebhooksCommand::Replay(args) => replay(server, args).await,
    }
}

async fn list(server: Option<String>, args: ListArgs) -> Result<Outcome, Trouble> {
    let client = Client::new(server, &args.client)?;
    let ListArgs { task, parked, limit, page_token, client: how } = args;
    let request = pb::ListWebhookDeliveriesRequest { task_id: task, parked_only: parked, page_size: limit, page_token };
    let page = page(&client, request).await?;
    if how.json {
        let deliveries: Vec<_> = page.deliveries.iter().map(json::delivery).collect();
        print(&json!({"deliveries": deliveries, "next_page_token": page.next_page_token}).to_string())?;
        return Ok(Outcome::Done);
    }
    let rows: Vec<Vec<String>> = page.deliveries.iter().map(row).collect();
    print(&columns(&["EVENT", "TYPE", "STATE", "AGE", "TRIES", "LAST ERROR"], &rows))?;
    if !page.next_page_token.is_empty() {
        say(&format!("more: repeat with --page-token {}", escape(&page.next_page_token)));
    }
    Ok(Outcome::Done)
}

fn row(delivery: &pb::WebhookDelivery) -> Vec<String> {
    let age = delivery.event_time.as_ref().map(|time| span(since(time))).unwrap_or_default();
    let state = json::delivery_state(delivery.state());
    let tries = if delivery.tries == 0 { "-".to_owned() } else { delivery.tries.to_string() };
    vec![escape(&delivery.id), escape(&delivery.r#type), state, age, tries, escape(&delivery.last_error)]
}

async fn replay(server: Option<String>, args: ReplayArgs) -> Result<Outcome, Trouble> {
    let client = Client::new(server, &args.client)?;
    let ids = if args.all { all_parked(&client).await? } else { args.ids };
    for id in ids {
        let request = pb::ReplayWebhookDeliveryRequest { id };
        let answer = client.call(async |mut stub| stub.replay_webhook_delivery(request.clone()).await).await;
        let delivery = match answer {
            Ok(answer) => answer.into_inner().delivery.unwrap_or_default(),
            // Of all that were parked, one may be delivered or removed meanwhile.
            Err(Trouble::Status(status)) if args.all && status.code() == Code::NotFound => continue,
            Err(trouble) => return Err(trouble),
        };
        print(&match args.client.json {
            true => json::delivery(&delivery).to_string(),
            false => format!("{}  {}", escape(&delivery.id), json::delivery_state(delivery.state())),
        })?;
    }
    Ok(Outcome::Done)
}

/// Every event that is parked now. Read before the first is replayed: one that is
/// parked again at once is not replayed for ever.
async fn all_parked(client: &Client) -> Result<Vec<String>, Trouble> {
    let mut request = pb::ListWebhookDeliveriesRequest { parked_only: true, page_size: PAGE, ..Default::default() };
    let mut ids = Vec::new();
    loop {
        let page = page(client, request.clone()).await?;
        ids.extend(page.deliveries.into_iter().map(|delivery| delivery.id));
        if page.next_page_token.is_empty() {
            return Ok(ids);
        }
        request.page_token = page.next_page_token;
    }
}

async fn page(
    client: &Client,
    request: pb::ListWebhookDeliveriesRequest,
) -> Result<pb::ListWebhookDeliveriesResponse, Trouble> {
    let answer = client.call(async |mut stub| stub.list_webhook_deliveries(request.clone()).await);
    Ok(answer.await?.into_inner())
}
