//! `videogen backup`: all tasks in one file, of a store at rest or of a running
//! server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::settings::SettingsArgs;
use super::text::{escape, print, say};
use super::trouble::{Outcome, Trouble};
use crate::clock::Clock;
use crate::config::Settings;
use crate::store::backup::{self, Summary};
use crate::store::inputs::Files;
use crate::store::{self, StoreSettings};

/// How long a running server may take.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The largest answer of a server that is read.
const ANSWER_BYTES: u64 = 64 * 1024;

/// Back up all tasks into one file.
///
/// With FILE, opens the store at store.path itself, which no server may have open, and writes FILE. Without it, asks the
/// running server at server.admin_listen, which writes a new file into its folder backup.path and says its name. Either
/// file is complete and on the disk when the command ends with 0, or is not there. It holds every task with its prompt and
/// links, and the key of the callback addresses: keep it like the store itself. Images that came with requests are in it, videos are not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  videogen backup --config videogen.toml tasks.backup    # the server is stopped
  videogen backup --config videogen.toml                 # the server is running
  curl -X POST http://127.0.0.1:9464/backup              # the same

Exit codes: 0 the backup is complete; 1 it could not be made; 2 wrong usage; 3 the server could not be reached.")]
pub(super) struct BackupArgs {
    /// A new file; nothing is overwritten.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) async fn run(args: BackupArgs) -> Result<Outcome, Trouble> {
    let settings = args.settings.load()?;
    match args.file {
        Some(file) => at_rest(&settings, &file).await,
        None => print(&ask(settings.server.admin_listen).await?).map(|()| Outcome::Done),
    }
}

async fn at_rest(settings: &Settings, file: &Path) -> Result<Outcome, Trouble> {
    let folder = &settings.store.path;
    if !folder.is_dir() {
        return Err(Trouble::Usage(format!("store.path: {} is no folder", folder.display())));
    }
    let failed = |error: &dyn std::fmt::Display| Trouble::Local(error.to_string());
    let store = store::open(&StoreSettings::new(folder)).await.map_err(|error| failed(&error))?;
    let saved = backup::save(store.as_ref(), &Files::of(folder), file, Clock::system().now()).await;
    store::contract::TaskStore::close(store.as_ref()).await;
    let Summary { tasks, damaged, .. } = saved.map_err(|error| failed(&error))?;
    print(&format!("{}: {tasks} tasks", file.display()))?;
    if damaged > 0 {
        say(&format!("warning: {damaged} damaged tasks are in it as request ids at most, to be refused"));
    }
    Ok(Outcome::Done)
}

/// Asks a running server.
async fn ask(admin: SocketAddr) -> Result<String, Trouble> {
    let unreached = |error: std::io::Error| {
        let status = tonic::Status::unavailable(error.to_string());
        Trouble::Unreachable { server: format!("http://{admin}"), status: Box::new(status) }
    };
    let asked = async {
        let mut stream = TcpStream::connect(admin).await?;
        let request =
            format!("POST /backup HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
        Ok(answer)
    };
    let timeout = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
    let answer = tokio::time::timeout(PATIENCE, asked).await.map_err(timeout).and_then(|asked| asked);
    let answer = String::from_utf8_lossy(&answer.map_err(unreached)?).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(escape(body.trim())),
        status => {
            Err(Trouble::Local(format!("the server answered {}: {}", status.unwrap_or("?"), escape(body.trim()))))
        }
    }
}
