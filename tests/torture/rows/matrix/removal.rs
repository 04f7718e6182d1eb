//! The last of a task: it is removed, then its file, then nobody buys it again.

use std::time::Duration;

use tonic::Code;

use super::deeds::Stage;
use super::{REACHED, died_at, ended};
use crate::load::{Acknowledged, is_unknown};

/// Lets everything be removed, dies amid that, and lets it be finished. What has
/// vanished is known by its request id and is never bought again.
pub async fn die_and_finish(stage: &Stage, answers: &[Acknowledged], name: &str) -> Result<u64, String> {
    let bought = stage.site.bought().len();
    let brief = [("VIDEOGEN_RETENTION__TASKS".to_owned(), "1s".to_owned())];
    let ended = match stage.start_with(&format!("{name}=kill"), &brief).await {
        Ok(server) => ended(server).await?,
        Err(ended) => ended,
    };
    died_at(name, &ended)?;
    let started = stage.start_with("", &brief).await;
    let mut server = started.map_err(|ended| format!("a start was refused:\n{}", ended.stderr))?;
    let began = tokio::time::Instant::now();
    // What may still be recovered is kept until it no longer may.
    let left = loop {
        let left = server.tasks().await?;
        if left.iter().all(is_unknown) && files(stage)? == 0 {
            break left;
        }
        if began.elapsed() > REACHED {
            return Err(format!("not all is removed: {} files, {left:?}", files(stage)?));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    for told in answers.iter().filter(|told| left.iter().all(|task| task.id != told.task)) {
        match server.client.submit(told.asked.request.clone()).await {
            Err(status) if status.code() == Code::FailedPrecondition => {}
            other => return Err(format!("I5: a removed request id was answered with {other:?}")),
        }
    }
    server.kill().await;
    let again = stage.site.bought().len() - bought;
    if again == 0 { Ok(1) } else { Err(format!("I2: {again} creates for tasks that were removed")) }
}

fn files(stage: &Stage) -> Result<usize, String> {
    let folder = std::fs::read_dir(stage.site.path("videos")).map_err(|error| error.to_string())?;
    Ok(folder.count())
}
