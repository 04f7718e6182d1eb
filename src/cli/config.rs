//! `videogen config`: the settings in force, secrets masked.

use clap::Args;

use super::settings::SettingsArgs;
use super::text::print;
use super::trouble::{Outcome, Trouble};

/// Print the settings in force, with secrets masked.
///
/// Takes the same file, environment and flags as 'videogen serve' and refuses the same mistakes, so it also serves as a
/// check before a start. Every key may be set by an environment variable: server.grpc_listen by
/// VIDEOGEN_SERVER__GRPC_LISTEN, the first account's key by VIDEOGEN_ACCOUNTS__0__API_KEY.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  videogen config --config videogen.toml")]
pub(super) struct ConfigArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) fn run(args: ConfigArgs) -> Result<Outcome, Trouble> {
    print(args.settings.load()?.render().trim_end())?;
    Ok(Outcome::Done)
}
