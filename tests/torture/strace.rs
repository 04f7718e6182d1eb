//! Runs the service under strace, which strikes at a system call: kills the process
//! as the call begins, or makes the call fail. strace counts the calls of each
//! thread by themselves, so the service gets one worker thread; the store's own
//! threads keep their own counts, and whichever comes first to the n-th is struck.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Calls that are counted together: names for one thing.
pub type Calls = &'static [&'static str];

/// What is done to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// Nothing: the calls are written down.
    Watch,
    /// It is killed as the call begins.
    Kill,
    /// The call fails with this error, and does nothing.
    Fail(&'static str),
}

/// A call that was made to fail.
#[derive(Clone, Debug)]
pub struct Struck {
    /// The line in which strace tells it, with the paths of files.
    pub line: String,
    /// From there to the end of the process, in milliseconds.
    pub ms_to_end: u64,
}

/// What is wanted in the service's environment: one worker thread, and one root
/// certificate in place of the system's many, which are half of all calls.
pub fn environment() -> Vec<(String, String)> {
    let mut environment = vec![("TOKIO_WORKER_THREADS".to_owned(), "1".to_owned())];
    let files = std::fs::read_dir("/etc/ssl/certs").into_iter().flatten().flatten().map(|entry| entry.path());
    let smallest = files
        .filter(|file| file.extension().is_some_and(|end| end == "pem"))
        .min_by_key(|file| std::fs::metadata(file).map_or(u64::MAX, |metadata| metadata.len()));
    if let Some(file) = smallest {
        environment.push(("SSL_CERT_FILE".to_owned(), file.display().to_string()));
        environment.push(("SSL_CERT_DIR".to_owned(), String::new()));
    }
    environment
}

/// Why strace cannot be used here, if it cannot.
pub fn missing() -> Option<String> {
    let works = Command::new("strace").args(["-e", "trace=none", "true"]).stderr(Stdio::null()).status();
    if works.is_ok_and(|status| status.success()) { None } else { Some("strace, and the right to trace".to_owned()) }
}

/// What stands before the command on its line. The process itself stays our child:
/// strace goes into the background. (Not with its quick filter, `--seccomp-bpf`:
/// strace 6.1 then counts wrongly and never comes to an n above 1.)
pub fn wrapper(calls: &[&str], strike: Strike, nth: u64, log: &Path) -> Vec<String> {
    let names: Vec<_> = calls.iter().map(|name| format!("?{name}")).collect();
    let names = names.join(",");
    let mut words: Vec<String> =
        ["-D", "-f", "-q", "-y", "-ttt", "-s", "256", "-e", "signal=none"].map(str::to_owned).to_vec();
    words.extend(["-e".to_owned(), format!("trace={names}"), "-o".to_owned(), log.display().to_string()]);
    let fault = match strike {
        Strike::Watch => None,
        Strike::Kill => Some("signal=KILL".to_owned()),
        Strike::Fail(error) => Some(format!("error={error}")),
    };
    words.extend(fault.into_iter().flat_map(|fault| ["-e".to_owned(), format!("inject={names}:{fault}:when={nth}")]));
    words
}

/// Where strace is: the service's own environment has no path to look in.
pub fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("strace")).find(|file| file.is_file());
    found.unwrap_or_else(|| PathBuf::from("/usr/bin/strace"))
}

/// The most calls that one thread made, by the calls' own names.
pub fn most_of_a_thread(log: &str) -> HashMap<String, u64> {
    let mut counts: HashMap<(&str, &str), u64> = HashMap::new();
    for line in log.lines() {
        if let Some((thread, call)) = begun(line) {
            *counts.entry((thread, call)).or_default() += 1;
        }
    }
    let mut most = HashMap::new();
    for ((_, call), count) in counts {
        let known = most.entry(call.to_owned()).or_default();
        *known = count.max(*known);
    }
    most
}

/// The thread and the name of the call that a line begins.
fn begun(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split_whitespace();
    let (thread, call) = (words.next()?, words.nth(1)?);
    let (name, _) = call.split_once('(')?;
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then_some((thread, name))
}

/// The call that was made to fail, if one was.
pub fn struck(log: &str) -> Option<Struck> {
    let lines: Vec<_> = log.lines().collect();
    let place = lines.iter().position(|line| line.contains("(INJECTED)"))?;
    let line = lines[place];
    let thread = line.split_whitespace().next();
    // A call that was interrupted by another thread's is told in two lines; the first names the file.
    let whole = if line.contains(" resumed>") {
        let same = |line: &&&str| line.split_whitespace().next() == thread && line.contains("<unfinished ...>");
        lines[..place].iter().rev().find(same).copied().unwrap_or(line)
    } else {
        line
    };
    let last = lines.iter().filter_map(|line| time(line)).max_by(f64::total_cmp)?;
    let ms_to_end = ((last - time(line)?) * 1_000.0).max(0.0) as u64;
    Some(Struck { line: whole.to_owned(), ms_to_end })
}

fn time(line: &str) -> Option<f64> {
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Which of the numbers 1 to `most` comes at this place, so that the first few
/// places are spread over all of them and every number comes once.
pub fn spread(place: u64, most: u64) -> u64 {
    let golden = (most as f64 * 0.618) as u64;
    let step = (golden.max(1)..).find(|step| gcd(*step, most) == 1).unwrap_or(1);
    place * step % most + 1
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
