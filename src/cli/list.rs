//! `videogen list`: a page of tasks, newest first, and the filter that `watch`
//! shares with it.

use clap::Args;
use serde_json::json;

use crate::api::pb;

use super::client::{Client, ClientArgs};
use super::json;
use super::request::{labels, parse_pair};
use super::text::{columns, escape, print, say, shorten, since, span};
use super::trouble::{Outcome, Trouble};

const PROMPT_CHARACTERS: usize = 40;

/// List tasks, newest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  videogen list --state failed --label team=films
  videogen list --limit 500 --json | jq -r '.tasks[].id'")]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// How many at most, 1 to 500.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=500))]
    limit: i32,

    /// Go on where the page before ended, with the same filter.
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    page_token: String,

    #[command(flatten)]
    client: ClientArgs,
}

/// Chooses tasks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filter")]
pub(super) struct FilterArgs {
    /// Only tasks in this state, such as running. Repeatable.
    #[arg(long, value_parser = parse_state)]
    state: Vec<pb::TaskState>,

    /// Only tasks with this label. Repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    label: Vec<(String, String)>,

    /// Only tasks of this model.
    #[arg(short, long)]
    model: Option<String>,
}

impl FilterArgs {
    pub(super) fn is_empty(&self) -> bool {
        let Self { state, label, model } = self;
        state.is_empty() && label.is_empty() && model.is_none()
    }

    pub(super) fn build(self) -> Result<pb::TaskFilter, Trouble> {
        Ok(pb::TaskFilter {
            states: self.state.into_iter().map(i32::from).collect(),
            labels: labels(self.label)?,
            model: self.model.unwrap_or_default(),
            create_time_min: None,
            create_time_max: None,
        })
    }
}

pub(super) async fn run(server: Option<String>, args: ListArgs) -> Result<Outcome, Trouble> {
    let client = Client::new(server, &args.client)?;
    let request =
        pb::ListTasksRequest { filter: Some(args.filter.build()?), page_size: args.limit, page_token: args.page_token };
    let page = client.call(async |mut stub| stub.list_tasks(request.clone()).await).await?.into_inner();
    if args.client.json {
        let tasks: Vec<_> = page.tasks.iter().map(json::task).collect();
        print(&json!({"tasks": tasks, "next_page_token": page.next_page_token}).to_string())?;
        return Ok(Outcome::Done);
    }
    let rows: Vec<Vec<String>> = page.tasks.iter().map(row).collect();
    print(&columns(&["ID", "STATE", "MODEL", "AGE", "PROMPT"], &rows))?;
    if !page.next_page_token.is_empty() {
        say(&format!("more: repeat with --page-token {}", escape(&page.next_page_token)));
    }
    Ok(Outcome::Done)
}

fn row(task: &pb::Task) -> Vec<String> {
    let age = task.create_time.as_ref().map(|create| span(since(create))).unwrap_or_default();
    let prompt = task.spec.as_ref().map(|spec| shorten(&spec.prompt, PROMPT_CHARACTERS)).unwrap_or_default();
    vec![escape(&task.id), json::state(task.state()), escape(&task.model), age, prompt]
}

fn parse_state(text: &str) -> Result<pb::TaskState, String> {
    let name = format!("TASK_STATE_{}", text.to_ascii_uppercase());
    let known = pb::TaskState::from_str_name(&name).filter(|state| *state != pb::TaskState::Unspecified);
    known.ok_or_else(|| {
        "expected queued, submitting, reconciling, running, archiving, succeeded, failed or cancelled".to_owned()
    })
}
