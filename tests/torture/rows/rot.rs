//! Bit rot: one to eight bytes anywhere in the folder of a store, receipts
//! included, become others. Either nothing of it is to be seen, or the check tells
//! of it; and every unfinished paid task comes back by the repair.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use rand::RngExt;
use tokio::sync::OnceCell;
use uuid::Uuid;
use videogen::store::contract::{Commit, Creation, Filter, TaskStore};
use videogen::store::{SledStore, StoreSettings, open};
use videogen::task::event::Event;
use videogen::task::id::{AccountName, JobId, ModelName, RequestId, Revision, TaskId};
use videogen::task::machine::{self, Applied};
use videogen::task::spec::{Image, Spec, Submission, UnknownPolicy};
use videogen::task::state::{Job, Task};

use crate::figures::Figures;
use crate::run::{Case, Row};

/// This row.
pub const ROW: Row = Row {
    name: "rot",
    about: "1-8 damaged bytes in a store: nothing silent, and every paid task comes back",
    sample: 20,
    full: 10_000,
    jobs: 2,
    case: |case| rot(case).boxed(),
    least: &[("damaged bytes", 1)],
};

/// How many tasks of each sort the store holds.
const TASKS: u64 = 12;

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What every case begins with.
struct Template {
    closed: PathBuf,
    killed: PathBuf,
    tasks: BTreeMap<TaskId, Task>,
}

static TEMPLATE: OnceCell<Template> = OnceCell::const_new();

async fn rot(case: Case) -> Result<Figures, String> {
    let home = case.folder.parent().ok_or("a case without a home")?.join("template");
    let template = TEMPLATE.get_or_init(|| async { template(&home).await }).await;
    let folder = case.folder.join("store");
    let killed = case.seed % 2 == 1;
    copy(if killed { &template.killed } else { &template.closed }, &folder);
    let damaged = damage(&case, &folder);
    let mut figures = Figures::default();
    figures.add("damaged bytes", damaged);

    match run(&case, &["fsck"], &folder)?.status.code() {
        Some(0) => figures.add("clean", 1),
        Some(1) => figures.add("receipts mended", 1),
        Some(2) => {
            figures.add("reported", 1);
            serves_or_refuses(&case, &folder, template)?;
            match run(&case, &["repair", "--from-receipts"], &folder)?.status.code() {
                // What the server itself makes good at its start needs no repair.
                Some(0 | 1) => figures.add("repaired", 1),
                other => return Err(format!("the repair ended with {other:?}")),
            }
            return all_paid(&folder, template).await.map(|()| figures);
        }
        other => return Err(format!("the check ended with {other:?}")),
    }
    all_the_same(&folder, template).await.map(|()| figures)
}

/// The service's own way of opening: it refuses, or it says what it set aside.
fn serves_or_refuses(case: &Case, folder: &Path, template: &Template) -> Result<(), String> {
    let file = case.folder.join("tasks.backup");
    let copied = case.folder.join("opened");
    copy(folder, &copied);
    let output = run(case, &["backup", file.to_str().ok_or("a path")?], &copied)?;
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match output.status.code() {
        Some(0) if out.contains(&format!(": {} tasks", template.tasks.len())) || log.contains("damaged") => Ok(()),
        Some(0) => Err(format!("tasks are missing and nobody was told: {out}{log}")),
        Some(1 | 3) => Ok(()),
        other => Err(format!("opening ended with {other:?}: {log}")),
    }
}

fn run(case: &Case, arguments: &[&str], folder: &Path) -> Result<Output, String> {
    let mut command = Command::new(&case.program);
    command.args(arguments).arg("--store-path").arg(folder).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let (sender, ended) = std::sync::mpsc::channel::<()>();
    let id = child.id();
    let pipes = (child.stdout.take(), child.stderr.take());
    let watch = std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE).is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout) {
            let pid = rustix::process::Pid::from_raw(i32::try_from(id).unwrap_or(0));
            pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
    });
    let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    };
    let errors = pipes.1.map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>);
    let errors = std::thread::spawn(move || read(errors));
    let stdout = read(pipes.0.map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>));
    let stderr = errors.join().unwrap_or_default();
    let status = child.wait().map_err(|error| error.to_string())?;
    drop(sender);
    let _ = watch.join();
    let _ = fs::write(case.folder.join(format!("{}.log", arguments[0])), [stdout.as_slice(), &stderr].concat());
    Ok(Output { status, stdout, stderr })
}

fn damage(case: &Case, folder: &Path) -> u64 {
    let mut random = case.random();
    let mut files = Vec::new();
    list(folder, &mut files);
    files.sort();
    let sizes: Vec<u64> = files.iter().map(|file| fs::metadata(file).map_or(0, |data| data.len())).collect();
    let count = random.random_range(1..=8);
    for _ in 0..count {
        let mut place = random.random_range(0..sizes.iter().sum::<u64>());
        for (file, size) in files.iter().zip(&sizes) {
            if place < *size {
                let mut bytes = fs::read(file).expect("a readable file");
                bytes[place as usize] ^= random.random_range(1..=255u8);
                fs::write(file, bytes).expect("a writable file");
                break;
            }
            place -= size;
        }
    }
    count
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() { list(&path, files) } else { files.push(path) }
    }
}

async fn stored(folder: &Path) -> Result<BTreeMap<TaskId, Task>, String> {
    let store = open(&small(folder)).await.map_err(|error| error.to_string())?;
    let tasks = store.list(&Filter::default(), None, 1000).await.map_err(|error| error.to_string())?;
    let key = store.read_note("callback_key").await.map_err(|error| error.to_string())?;
    store.close().await;
    if key.is_some_and(|key| key != [7; 32]) {
        return Err("the key of the callback addresses is another".to_owned());
    }
    Ok(tasks.into_iter().map(|task| (task.id, Task::clone(&task))).collect())
}

async fn all_the_same(folder: &Path, template: &Template) -> Result<(), String> {
    match stored(folder).await? == template.tasks {
        true => Ok(()),
        false => Err("a difference that nobody was told of".to_owned()),
    }
}

async fn all_paid(folder: &Path, template: &Template) -> Result<(), String> {
    let found = stored(folder).await?;
    for (id, task) in template.tasks.iter().filter(|(_, task)| task.is_open() && !task.attempts.is_empty()) {
        let Some(back) = found.get(id) else { return Err(format!("paid task {id} did not come back")) };
        if (&back.state, &back.job, &back.attempts) != (&task.state, &task.job, &task.attempts) {
            return Err(format!("paid task {id} came back as {} instead of {}", back.state.word(), task.state.word()));
        }
    }
    for (id, back) in &found {
        let known = template.tasks.get(id).ok_or_else(|| format!("task {id} was never there"))?;
        if known.submission != back.submission || back.revision > known.revision {
            return Err(format!("task {id} is not what it was"));
        }
    }
    Ok(())
}

fn small(folder: &Path) -> StoreSettings {
    StoreSettings { cache_mib: 8, ..StoreSettings::new(folder) }
}

/// A store that has been closed and opened, so that it has a snapshot, and then
/// written to.
async fn template(home: &Path) -> Template {
    let (live, closed, killed) = (home.join("live"), home.join("closed"), home.join("killed"));
    let mut tasks = BTreeMap::new();
    for round in 0..3 {
        let store = open(&small(&live)).await.expect("a new store");
        if round == 0 {
            store.write_note("callback_key", vec![7; 32]).await.expect("a note");
        }
        for number in 0..TASKS * 5 {
            let task = tasks.entry(number).or_insert_with(|| task(number));
            let steps = steps(number);
            if round == 0 {
                let created = store.create(Arc::new(task.clone())).await.expect("the store works");
                assert_eq!(created, Creation::Created);
            }
            for event in steps.get(round * 2..(round * 2 + 2).min(steps.len())).unwrap_or_default() {
                *task = change(&store, task, event).await;
            }
        }
        if round == 2 {
            copy(&live, &killed);
        }
        store.close().await;
    }
    copy(&live, &closed);
    let tasks = tasks.into_values().map(|task| (task.id, task)).collect();
    Template { closed, killed, tasks }
}

async fn change(store: &SledStore, task: &Task, event: &Event) -> Task {
    let now = task.updated + Duration::from_secs(1);
    let Applied::Next(next) = machine::apply(task, event, now) else { panic!("{event:?} in {:?}", task.state) };
    let commit = store.commit(task.revision, Arc::new(Task::clone(&next))).await.expect("the store works");
    assert_eq!(commit, Commit::Committed);
    *next
}

/// What befalls the tasks: one sort waits, one is sent, one is looked up, one runs,
/// one has been cancelled.
fn steps(number: u64) -> Vec<Event> {
    let unknown = Event::CreateUnknown { reason: "the answer was lost".to_owned() };
    let job = Job { id: JobId::new(format!("job-{number}")), handle: String::new() };
    match number % 5 {
        0 => vec![],
        1 => vec![Event::CreateStarted],
        2 => vec![Event::CreateStarted, unknown],
        3 => vec![Event::CreateStarted, unknown, Event::JobFound { attempt: 1, job }],
        _ => vec![Event::CancelRequested],
    }
}

fn task(number: u64) -> Task {
    let ms = 1_795_392_000_000 + number;
    let model = ModelName::parse("kling/kling-v2-1").expect("it has both parts");
    let mut spec = Spec { prompt: format!("a lighthouse in the rain, number {number}"), ..Spec::new(model) };
    if number % 7 == 1 {
        spec.start_image = Some(Image::Data(vec![number as u8; 6000].into()));
    }
    let submission = Submission {
        request_id: RequestId::new(format!("request-{number}")),
        fingerprint: [number as u8; 32],
        spec,
        account: AccountName::new("main"),
        generation_timeout: Duration::from_secs(3600),
        typical: Duration::from_secs(180),
        policy: UnknownPolicy::AtMostOnce,
        labels: BTreeMap::new(),
        warnings: Vec::new(),
        webhook: None,
    };
    let id = TaskId::new(Uuid::from_u128(u128::from(ms) << 80 | 7 << 76 | 0b10 << 62 | u128::from(number)));
    let task = machine::accept(id, Arc::new(submission), SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
    assert_eq!(task.revision, Revision(1));
    task
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a readable folder") {
        let entry = entry.expect("a readable folder");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
