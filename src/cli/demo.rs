//! `videogen demo`: the whole way without keys or cost, against the simulator.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Parser};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::text::say;
use super::trouble::{Outcome, Trouble};
use super::{Cli, Command, generate};
use crate::app::App;
use crate::config::{Overrides, Settings};
use crate::simulator::{self, Simulator};

/// The model that the demonstration buys from: Kling's newest, by its new protocol.
const MODEL: &str = "kling/kling-3.0";

/// Try everything in a minute, without keys or cost.
///
/// Starts a simulated provider and the service in a temporary folder, sends the whole job through the real Kling adapter,
/// and leaves a playable file. A file of the same name is replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  videogen demo 'a fox in the snow' -o fox.mp4")]
pub(super) struct DemoArgs {
    /// What the video shows.
    #[arg(default_value = "a fox in the snow")]
    prompt: String,

    /// The file to leave.
    #[arg(short, long, value_name = "FILE", default_value = "videogen-demo.mp4")]
    output: PathBuf,
}

pub(super) async fn run(args: DemoArgs) -> Result<Outcome, Trouble> {
    let folder = tempfile::tempdir().map_err(|error| local(&error))?;
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.map_err(|error| local(&error))?;
    let simulator = Simulator::start(listener, simulator::Settings::default()).await.map_err(|error| local(&error))?;
    say(&format!("simulated provider at {}: no key, no cost", simulator.base_url()));

    let settings = settings(folder.path(), &simulator.base_url())?;
    let app = App::start(&settings).await.map_err(|error| local(&error))?;
    let server = format!("http://{}", app.addresses().grpc);
    say(&format!("service at {server}, buying from {MODEL}"));

    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(app.run_until(async {
        // Dropped or sent: either way the work is done.
        let _ = stopped.await;
    }));
    let made = make(server, &args).await;
    drop(stop);
    served.await.map_err(|error| local(&error))?;
    simulator.stop().await;
    made
}

/// Does what a person would type next.
async fn make(server: String, args: &DemoArgs) -> Result<Outcome, Trouble> {
    let output = args.output.display().to_string();
    let typed = ["videogen", "generate", "-m", MODEL, "--duration", "5", "--force", "-o", &output, "--", &args.prompt];
    match Cli::try_parse_from(typed).map(|cli| cli.command) {
        Ok(Command::Generate(generate)) => generate::run(Some(server), generate).await,
        Ok(_) => Err(Trouble::Usage("the demonstration asks for something else".into())),
        Err(error) => Err(Trouble::Usage(error.to_string())),
    }
}

/// Settings as a person would write them, for the temporary folder. The simulator
/// works in seconds, so it is asked after every second and expected to take six.
fn settings(folder: &Path, simulator: &str) -> Result<Settings, Trouble> {
    let catalog = folder.join("models.toml");
    let six_seconds = format!("[[model]]\nname = \"{MODEL}\"\ntypical_s = 6\n");
    std::fs::write(&catalog, six_seconds).map_err(|error| local(&error))?;
    let set = |name: &str, value: &str| (format!("VIDEOGEN_{name}"), value.to_owned());
    let variables = [
        set("SERVER__GRPC_LISTEN", "127.0.0.1:0"),
        set("SERVER__CALLBACK_LISTEN", "127.0.0.1:0"),
        set("SERVER__ADMIN_LISTEN", "127.0.0.1:0"),
        set("SERVER__SHUTDOWN_GRACE", "5s"),
        set("STORE__PATH", &folder.join("store").display().to_string()),
        set("ARCHIVE__URL", &format!("file:{}", folder.join("videos").display())),
        set("POLLING__MIN_INTERVAL", "500ms"),
        set("POLLING__MAX_INTERVAL", "1s"),
        set("NETWORK__ALLOW", "127.0.0.0/8"),
        set("CATALOG__PATH", &catalog.display().to_string()),
        set("ACCOUNTS__0__NAME", "simulated"),
        set("ACCOUNTS__0__PROVIDER", "kling"),
        set("ACCOUNTS__0__API_KEY", "any-key-will-do"),
        set("ACCOUNTS__0__BASE_URL", simulator),
    ];
    let settings = Settings::load(None, variables.into_iter(), &Overrides::default());
    settings.map_err(|error| local(&error))
}

fn local(error: &dyn std::fmt::Display) -> Trouble {
    Trouble::Local(error.to_string())
}
