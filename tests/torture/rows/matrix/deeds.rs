//! What is done to the process from outside, for the points that are no place in
//! its code; and the stage that a cell plays on.

use std::time::Duration;

use futures::FutureExt;
use pb::TaskState;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::task::JoinHandle;
use tonic::Code;
use videogen::api::pb;

use super::REACHED;
use crate::common::child::Ended;
use crate::load::{Acknowledged, Asked, insist};
use crate::site::{Client, Server, Site};

/// Something done to the process from outside, or by its callers. A kill follows.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    /// Callers leave while their request is not yet committed.
    LeaveBeforeCommit,
    /// Callers leave once it is, without their answer.
    LeaveAfterCommit,
    /// After the restart a request id is used for another request.
    KillThenOtherBody,
    /// A request id is used for another request, and the process dies.
    OtherBodyThenKill,
    /// A stored video vanishes.
    RemoveVideo,
    /// A stored video changes.
    AlterVideo,
    /// The next start finds the clock an hour ahead, and it stays so.
    ClockAhead,
    /// The next start finds the clock an hour back, the one after it right again.
    ClockBack,
    /// A second process starts on the same folder, before there is work.
    SecondProcessFirst,
    /// The same amid work.
    SecondProcess,
}

/// Where a cell plays.
pub struct Stage {
    /// The folder and the provider.
    pub site: Site,
    /// The callers under way.
    pub callers: Vec<JoinHandle<Result<Acknowledged, String>>>,
    environment: Vec<(String, String)>,
    requests: Vec<Asked>,
}

impl Stage {
    pub fn new(site: Site, environment: Vec<(String, String)>, requests: Vec<Asked>) -> Self {
        Self { site, callers: Vec::new(), environment, requests }
    }

    /// Starts the server with these traps.
    pub async fn start(&self, traps: &str) -> Result<Server, String> {
        self.site.start(&self.armed(traps)).await
    }

    /// Starts a server that may die before it serves.
    pub async fn try_start(&self, traps: &str) -> Result<Server, Ended> {
        self.site.try_start(&self.armed(traps)).await
    }

    /// The same with more in its environment.
    pub async fn start_with(&self, traps: &str, more: &[(String, String)]) -> Result<Server, Ended> {
        let environment: Vec<_> = self.armed(traps).into_iter().chain(more.iter().cloned()).collect();
        self.site.try_start(&environment).await
    }

    /// Starts a server that is to die before it serves.
    pub async fn die_starting(&self, traps: &str) -> Result<(), String> {
        match self.try_start(traps).await {
            Err(ended) if ended.code.is_none() && ended.stderr.contains("failpoint ") => Ok(()),
            Err(ended) => Err(format!("the start ended with {:?}:\n{}", ended.code, ended.stderr)),
            Ok(_) => Err(format!("the start did not die: {traps}")),
        }
    }

    fn armed(&self, traps: &str) -> Vec<(String, String)> {
        let traps = ("FAILPOINTS".to_owned(), traps.to_owned());
        self.environment.iter().cloned().chain([traps]).collect()
    }

    /// Sends the callers, so many with each request; those that are under way stay.
    pub fn load(&mut self, each: usize) {
        if self.callers.is_empty() {
            let door = self.site.door();
            let asked = self.requests.iter().flat_map(|asked| std::iter::repeat_n(asked, each));
            self.callers = asked.map(|asked| tokio::spawn(insist(door.clone(), asked.clone()))).collect();
        }
    }

    /// Cancels each task as soon as its caller knows of it.
    pub fn cancel_all(&mut self) {
        let callers = std::mem::take(&mut self.callers);
        let door = self.site.door();
        let cancelling = callers.into_iter().map(|caller| {
            let door = door.clone();
            tokio::spawn(async move {
                let told = caller.await.map_err(|error| error.to_string())??;
                let channel = door.borrow().clone();
                if let Some(channel) = channel {
                    // A wish: the answer may be lost with the process.
                    let request = pb::CancelTaskRequest { task_id: told.task.clone() };
                    let _ = tokio::time::timeout(REACHED, Client::new(channel).cancel_task(request)).await;
                }
                Ok(told)
            })
        });
        self.callers = cancelling.collect();
    }

    /// Waits for the first answer, without taking it from its caller.
    async fn first_answer(&self) -> Result<Acknowledged, String> {
        insist(self.site.door(), self.requests[0].clone()).await
    }
}

impl Deed {
    /// Does it, and kills; how often the process died.
    pub async fn strike(self, stage: &mut Stage, random: &mut StdRng) -> Result<u64, String> {
        let moment = Duration::from_millis(random.random_range(50..700));
        match self {
            Self::LeaveBeforeCommit => leave(stage, "submit.decoded=delay(150)*9", moment).await,
            Self::LeaveAfterCommit => leave(stage, "submit.stored=delay(150)*9", moment).await,
            Self::KillThenOtherBody => {
                let server = stage.start("").await?;
                stage.load(1);
                stage.first_answer().await?;
                server.kill().await;
                let server = stage.start("").await?;
                other_body(stage).await?;
                server.kill().await;
                Ok(2)
            }
            Self::OtherBodyThenKill => {
                let server = stage.start("").await?;
                stage.load(1);
                stage.first_answer().await?;
                other_body(stage).await?;
                server.kill().await;
                Ok(1)
            }
            Self::RemoveVideo => damage(stage, |path| std::fs::remove_file(path)).await,
            Self::AlterVideo => damage(stage, |path| std::fs::write(path, b"altered")).await,
            Self::ClockAhead => {
                kill_after(stage, moment).await?;
                stage.environment.push(("FAILPOINT_SKEW_S".to_owned(), "3600".to_owned()));
                kill_after(stage, moment).await?;
                Ok(2)
            }
            Self::ClockBack => {
                kill_after(stage, moment).await?;
                stage.environment.push(("FAILPOINT_SKEW_S".to_owned(), "-3600".to_owned()));
                kill_after(stage, moment).await?;
                stage.environment.pop();
                Ok(2)
            }
            Self::SecondProcessFirst => {
                let server = stage.start("").await?;
                second_process(stage).await?;
                stage.load(1);
                tokio::time::sleep(moment).await;
                server.kill().await;
                Ok(1)
            }
            Self::SecondProcess => {
                let server = stage.start("").await?;
                stage.load(1);
                tokio::time::sleep(moment).await;
                second_process(stage).await?;
                server.kill().await;
                Ok(1)
            }
        }
    }
}

async fn kill_after(stage: &mut Stage, moment: Duration) -> Result<(), String> {
    let server = stage.start("").await?;
    stage.load(1);
    tokio::time::sleep(moment).await;
    server.kill().await;
    Ok(())
}

/// Every request once, by callers that leave after a few milliseconds.
async fn leave(stage: &mut Stage, traps: &str, moment: Duration) -> Result<u64, String> {
    let server = stage.start(traps).await?;
    for asked in &stage.requests {
        let patience = Duration::from_millis(25);
        let left = tokio::time::timeout(patience, server.client.clone().submit(asked.request.clone())).await;
        drop(left);
    }
    tokio::time::sleep(moment).await;
    let ended = server.kill().await;
    if !ended.stderr.contains("failpoint submit.") {
        return Err("no caller left while its request was in work".to_owned());
    }
    stage.load(1);
    Ok(1)
}

async fn other_body(stage: &Stage) -> Result<(), String> {
    let mut other = stage.requests[0].request.clone();
    if let Some(spec) = &mut other.spec {
        spec.prompt.push_str(", and another");
    }
    expect(stage, other, Code::AlreadyExists).await
}

async fn expect(stage: &Stage, request: pb::SubmitRequest, code: Code) -> Result<(), String> {
    let Some(channel) = stage.site.door().borrow().clone() else { return Err("there is no server".to_owned()) };
    match tokio::time::timeout(REACHED, Client::new(channel).submit(request)).await {
        Ok(Err(status)) if status.code() == code => Ok(()),
        other => Err(format!("not refused with {code:?}: {other:?}")),
    }
}

/// A second process must give up, and leave the first alone.
async fn second_process(stage: &Stage) -> Result<(), String> {
    let second = stage.site.spawn("serve", &stage.environment);
    let ended = second.ended().await;
    if ended.code.is_none_or(|code| code == 0) || ended.stderr.contains("listening grpc=") {
        return Err(format!("a second process ended with {:?}:\n{}", ended.code, ended.stderr));
    }
    Ok(())
}

/// Damages the first stored video, kills, and expects to be told so. The file is
/// put back for the judgement of the rest.
async fn damage(stage: &mut Stage, harm: fn(&std::path::Path) -> std::io::Result<()>) -> Result<u64, String> {
    let mut server = stage.start("").await?;
    stage.load(1);
    let began = tokio::time::Instant::now();
    let task = loop {
        let tasks = server.tasks().await?;
        if let Some(task) = tasks.into_iter().find(|task| task.state() == TaskState::Succeeded) {
            break task;
        }
        if began.elapsed() > REACHED {
            return Err("no video was ever stored".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let file = stage.site.path("videos").join(format!("{}.mp4", task.id));
    let bytes = std::fs::read(&file).map_err(|error| error.to_string())?;
    harm(&file).map_err(|error| error.to_string())?;
    server.kill().await;

    let mut server = stage.start("").await?;
    let request = pb::DownloadVideoRequest { task_id: task.id, offset: 0 };
    let told = download(&mut server.client, request).boxed().await;
    server.kill().await;
    std::fs::write(&file, bytes).map_err(|error| error.to_string())?;
    match told {
        Err(status) if status.code() == Code::DataLoss => Ok(2),
        other => Err(format!("I4: a damaged video was handed out: {other:?}")),
    }
}

/// How many bytes came, when all did.
async fn download(client: &mut Client, request: pb::DownloadVideoRequest) -> Result<usize, tonic::Status> {
    let mut stream = client.download_video(request).await?.into_inner();
    let mut bytes = 0;
    while let Some(message) = stream.message().await? {
        if let Some(pb::download_video_response::Part::Chunk(chunk)) = message.part {
            bytes += chunk.len();
        }
    }
    Ok(bytes)
}
