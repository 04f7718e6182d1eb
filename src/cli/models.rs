//! `videogen models`: what the server's catalog holds.

use clap::Args;
use serde_json::json;

use crate::api::pb;

use super::client::{Client, ClientArgs};
use super::json;
use super::text::{columns, escape, print, span, to_std};
use super::trouble::{Outcome, Trouble};

/// List the models that the server knows, with what each one takes.
///
/// READY says whether the server's settings hold an account for the model's provider. The full list of settings, options
/// among them, is in --json.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  videogen models --provider kling
  videogen models --json | jq '.models[] | select(.configured) | .name'")]
pub(super) struct ModelsArgs {
    /// Only models of this provider.
    #[arg(long, default_value = "", hide_default_value = true)]
    provider: String,

    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn run(server: Option<String>, args: ModelsArgs) -> Result<Outcome, Trouble> {
    let client = Client::new(server, &args.client)?;
    let request = pb::ListModelsRequest { provider: args.provider };
    let catalog = client.call(async |mut stub| stub.list_models(request.clone()).await).await?.into_inner();
    if args.client.json {
        let models: Vec<_> = catalog.models.iter().map(json::model).collect();
        print(&json!({ "models": models }).to_string())?;
        return Ok(Outcome::Done);
    }
    let rows: Vec<Vec<String>> = catalog.models.iter().map(row).collect();
    print(&columns(&["MODEL", "READY", "FROM", "SECONDS", "RATIOS", "RESOLUTIONS", "TYPICAL"], &rows))?;
    Ok(Outcome::Done)
}

fn row(model: &pb::Model) -> Vec<String> {
    let from = match (model.text_to_video, model.image_to_video) {
        (true, true) => "text, image",
        (true, false) => "text",
        (false, true) => "image",
        (false, false) => "-",
    };
    vec![
        escape(&model.name),
        if model.configured { "yes" } else { "no" }.to_owned(),
        from.to_owned(),
        seconds(&model.durations_seconds),
        names(&model.aspect_ratios),
        names(&model.resolutions),
        model.typical_duration.as_ref().and_then(to_std).map(span).unwrap_or_else(|| "-".into()),
    ]
}

/// A run of lengths is shown by its ends: `3-15`.
fn seconds(lengths: &[u32]) -> String {
    let is_run = lengths.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    match lengths {
        [] => "-".to_owned(),
        [first, .., last] if is_run && lengths.len() > 2 => format!("{first}-{last}"),
        _ => lengths.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
    }
}

fn names(names: &[String]) -> String {
    if names.is_empty() { "-".to_owned() } else { escape(&names.join(",")) }
}
