//! One run of the binary: what it prints is kept and waited for, how it ends is
//! told, and it never outlives the test.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::within;

/// A running process.
pub struct Process {
    child: Child,
    lines: UnboundedReceiver<String>,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Everything it printed on standard output.
    pub stdout: String,
    /// Everything it printed on standard error.
    pub stderr: String,
}

impl Process {
    /// Starts the binary with nothing in its environment but what is given.
    pub fn spawn(arguments: &[&str], environment: &[(String, String)]) -> Self {
        Self::run(Path::new(env!("CARGO_BIN_EXE_videogen")), arguments, environment)
    }

    /// Starts any program like that.
    pub fn run(program: &Path, arguments: &[&str], environment: &[(String, String)]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = unbounded_channel();
        let stdout = keep(child.stdout.take().unwrap(), sender.clone());
        let stderr = keep(child.stderr.take().unwrap(), sender);
        Self { child, lines, stdout, stderr }
    }

    /// The rest of the first line that begins like this; nothing when the process
    /// ends without one.
    pub async fn announced(&mut self, beginning: &str) -> Option<String> {
        let line = async {
            loop {
                let line = self.lines.recv().await?;
                if let Some(rest) = line.strip_prefix(beginning) {
                    return Some(rest.to_owned());
                }
            }
        };
        within(line).await
    }

    /// Ends it as a power cut would.
    pub async fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.ended().await
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> Ended {
        // Both pipes close with the process, so the wait below is a short one.
        within(async { while self.lines.recv().await.is_some() {} }).await;
        let code = self.child.wait().unwrap().code();
        Ended { code, stdout: text(&self.stdout), stderr: self.log() }
    }

    /// What it has printed on standard error so far.
    pub fn log(&self) -> String {
        text(&self.stderr)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a pipe to its end; the lines are told to whoever waits for one.
fn keep(pipe: impl Read + Send + 'static, lines: UnboundedSender<String>) -> Arc<Mutex<String>> {
    let kept = Arc::new(Mutex::new(String::new()));
    let written = Arc::clone(&kept);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut written = written.lock().unwrap();
            written.push_str(&line);
            written.push('\n');
            drop(written);
            // Nobody waits for lines any more when the test is over.
            let _ = lines.send(line);
        }
    });
    kept
}

fn text(kept: &Mutex<String>) -> String {
    kept.lock().unwrap().clone()
}
