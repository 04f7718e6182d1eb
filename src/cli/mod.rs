//! The command line: parses, starts the runtime, dispatches, and turns how it
//! went into an exit code. A command a file.

mod backup;
mod cancel;
mod client;
mod config;
mod demo;
mod download;
mod fetch;
mod follow;
mod fsck;
mod generate;
mod get;
mod health;
mod json;
mod list;
mod models;
mod progress;
mod repair;
mod request;
mod restore;
mod serve;
mod settings;
mod simulator;
mod submit;
mod summary;
#[cfg(test)]
mod tests;
mod text;
mod trouble;
mod watch;
mod webhooks;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use trouble::{Outcome, Trouble};

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 the task failed or was cancelled, or a file could not be kept; 2 wrong usage or refused by the \
server; 3 the server could not be reached; 130 interrupted with Ctrl-C.";

const START: &str = "\
Try it without keys:      videogen demo
Run the service:          videogen serve --config videogen.toml
Buy a video through it:   videogen generate 'a fox in the snow' -m kling/kling-3.0 -o fox.mp4";

/// Buys a video from a slow, paid provider once, follows it, and keeps the file.
#[derive(Debug, Parser)]
#[command(name = "videogen", version, after_help = START, after_long_help = format!("{START}\n\n{EXIT_CODES}"))]
struct Cli {
    /// The server that the client commands call; may also stand after the command.
    #[arg(long, value_name = "URL")]
    server: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Demo(demo::DemoArgs),
    Simulator(simulator::SimulatorArgs),
    Generate(generate::GenerateArgs),
    Submit(submit::SubmitArgs),
    Watch(watch::WatchArgs),
    Get(get::GetArgs),
    List(list::ListArgs),
    Cancel(cancel::CancelArgs),
    Download(download::DownloadArgs),
    Webhooks(webhooks::WebhooksArgs),
    Models(models::ModelsArgs),
    Health(health::HealthArgs),
    Config(config::ConfigArgs),
    Backup(backup::BackupArgs),
    Restore(restore::RestoreArgs),
    Fsck(fsck::FsckArgs),
    Repair(repair::RepairArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // One provider of cryptography in the whole process; a second call would only
    // say that it is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to be done if the terminal is gone.
            let _ = error.print();
            return ExitCode::from(error.exit_code().clamp(0, 255) as u8);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(Err(Trouble::Local(format!("cannot start: {error}")))),
    };
    let code = report(runtime.block_on(dispatch(cli)));
    // What has to be waited for was awaited. A write to a disk that hangs is given up:
    // it would keep a process alive whose store has stopped.
    runtime.shutdown_background();
    code
}

async fn dispatch(cli: Cli) -> Result<Outcome, Trouble> {
    let server = cli.server;
    match cli.command {
        Command::Serve(args) => serve::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Simulator(args) => simulator::run(args).await,
        Command::Generate(args) => generate::run(server, args).await,
        Command::Submit(args) => submit::run(server, args).await,
        Command::Watch(args) => watch::run(server, args).await,
        Command::Get(args) => get::run(server, args).await,
        Command::List(args) => list::run(server, args).await,
        Command::Cancel(args) => cancel::run(server, args).await,
        Command::Download(args) => download::run(server, args).await,
        Command::Webhooks(args) => webhooks::run(server, args).await,
        Command::Models(args) => models::run(server, args).await,
        Command::Health(args) => health::run(server, args).await,
        Command::Config(args) => config::run(args),
        Command::Backup(args) => backup::run(args).await,
        Command::Restore(args) => restore::run(args).await,
        Command::Fsck(args) => fsck::run(args).await,
        Command::Repair(args) => repair::run(args).await,
    }
}

fn report(outcome: Result<Outcome, Trouble>) -> ExitCode {
    match outcome {
        Ok(outcome) => ExitCode::from(outcome.exit_code()),
        Err(trouble) => {
            text::say(&trouble.to_string());
            ExitCode::from(trouble.exit_code())
        }
    }
}
