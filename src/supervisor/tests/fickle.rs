//! A provider with every bad habit, drawn from a seed, and with books of its own: the
//! oracle of the simulation.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::time::{Duration, Instant};

use crate::archive::sample;
use crate::dice::Dice;
use crate::providers::contract::{Abilities, Created, Found, Order, Provider, Trouble};
use crate::task::event::Observation;
use crate::task::id::{JobId, Marker};
use crate::task::state::{CancelOutcome, Failure, FailureKind, Job, Output, Progress};

/// One create that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) marker: String,
    /// Whether another create under the marker was safe: the one before surely was
    /// not taken, or the provider refuses duplicates.
    pub(super) safe: bool,
}

/// What will become of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A video, whose file can be had in the end.
    Video,
    /// A video at a link that is not called, or that is no video.
    Useless,
    Fails,
    Forgotten,
    Never,
}

/// A job that was sold.
#[derive(Clone, Debug)]
pub(super) struct Sold {
    pub(super) marker: String,
    pub(super) id: JobId,
    pub(super) fate: Fate,
    /// When it comes to its end.
    pub(super) ends: Instant,
    pub(super) stopped: bool,
    /// How often its file is refused before it can be had.
    bad_links: u32,
    asked: u32,
    /// How many answers in a row say that there is no such job, and how many did at most.
    denied: u32,
    pub(super) most_denied: u32,
}

#[derive(Default)]
struct Books {
    sent: Vec<Sent>,
    sold: Vec<Sold>,
    /// Whether the last create under a marker surely was not taken.
    clear: HashMap<String, bool>,
    requests: u64,
    polls: u64,
}

/// The provider.
pub(super) struct Fickle {
    abilities: Abilities,
    folder: PathBuf,
    dice: Dice,
    /// When nothing is answered, and when the key is refused.
    outages: Vec<(Instant, Instant)>,
    denials: Vec<(Instant, Instant)>,
    /// From here on it behaves.
    calm: Instant,
    books: Mutex<Books>,
}

fn within(spans: &[(Instant, Instant)]) -> bool {
    let now = Instant::now();
    spans.iter().any(|(from, to)| (*from..*to).contains(&now))
}

impl Fickle {
    pub(super) fn new(dice: Dice, folder: PathBuf, calm: Duration) -> Self {
        let kling = dice.chance(0.5);
        let abilities = Abilities {
            poll_batch: if kling { 20 } else { 1 },
            finds_by_marker: kling,
            refuses_duplicates: kling,
            cancels: !kling,
        };
        let begin = Instant::now();
        let span = |longest| {
            let from = begin + dice.up_to(calm);
            (from, from + dice.up_to(longest))
        };
        let outages = (0..dice.below(4)).map(|_| span(Duration::from_secs(3600))).collect();
        let denials = (0..dice.below(3)).map(|_| span(Duration::from_secs(2 * 3600))).collect();
        Self { abilities, folder, outages, denials, calm: begin + calm, books: Mutex::default(), dice }
    }

    pub(super) fn sent(&self) -> Vec<Sent> {
        self.books.lock().unwrap().sent.clone()
    }

    pub(super) fn sold(&self) -> Vec<Sold> {
        self.books.lock().unwrap().sold.clone()
    }

    pub(super) fn requests(&self) -> u64 {
        self.books.lock().unwrap().requests
    }

    fn ill(&self, chance: f64) -> bool {
        Instant::now() < self.calm && self.dice.chance(chance)
    }

    fn sell(&self, books: &mut Books, marker: &str) -> Job {
        let fate = match self.dice.below(100) {
            _ if Instant::now() >= self.calm => Fate::Video,
            0..70 => Fate::Video,
            70..75 => Fate::Useless,
            75..90 => Fate::Fails,
            90..95 => Fate::Forgotten,
            _ => Fate::Never,
        };
        let longest = if self.dice.chance(0.1) { 20 * 3600 } else { 900 };
        let job = Job { id: JobId::new(format!("job-{}-of-{marker}", books.sold.len())), handle: marker.to_owned() };
        books.sold.push(Sold {
            marker: marker.to_owned(),
            id: job.id.clone(),
            fate,
            ends: Instant::now() + Duration::from_secs(5) + self.dice.up_to(Duration::from_secs(longest)),
            stopped: false,
            bad_links: if self.dice.chance(0.15) { 1 + self.dice.below(3) as u32 } else { 0 },
            asked: 0,
            denied: 0,
            most_denied: 0,
        });
        job
    }

    fn observe(&self, books: &mut Books, job: &Job) -> Result<Observation, Trouble> {
        if self.ill(0.08) {
            return Err(trouble("http 503"));
        }
        let sold = books.sold.iter_mut().find(|sold| sold.id == job.id).expect("only what was sold is asked after");
        let told = self.tell_of(sold);
        sold.denied = if matches!(told, Ok(Observation::Missing)) { sold.denied + 1 } else { 0 };
        sold.most_denied = sold.most_denied.max(sold.denied);
        told
    }

    fn tell_of(&self, sold: &mut Sold) -> Result<Observation, Trouble> {
        let over = Instant::now() >= sold.ends;
        if self.ill(0.02) {
            return Ok(Observation::Missing);
        }
        if over && self.ill(0.03) {
            return Ok(pending("back to work"));
        }
        match sold.fate {
            _ if sold.stopped && over => Ok(failed("stopped")),
            Fate::Video if over => Ok(self.done(sold)),
            Fate::Useless if over => {
                let even = sold.id.as_str().len().is_multiple_of(2);
                Ok(link(if even { "https://cdn.example/rejected/v.mp4" } else { "https://10.0.0.1/v.mp4" }))
            }
            Fate::Fails if over => Ok(failed("the model fell over")),
            Fate::Forgotten if over => Ok(Observation::Missing),
            _ if self.ill(0.05) => Ok(pending("a word that nobody knows")),
            _ => Ok(pending("processing")),
        }
    }

    /// The first links may not work; a later one does, and its file is where the
    /// archive looks first: sockets do not go with paused time.
    fn done(&self, sold: &mut Sold) -> Observation {
        sold.asked += 1;
        if sold.asked <= sold.bad_links {
            return link(&format!("https://cdn.example/expired/{}", sold.id));
        }
        let task = Marker::new(&*sold.marker).task().expect("the marker is ours");
        std::fs::write(self.folder.join(format!("{task}.mp4")), sample::mp4(500)).unwrap();
        link(&format!("https://cdn.example/good/{}", sold.id))
    }
}

fn trouble(reason: &str) -> Trouble {
    Trouble { reason: reason.to_owned(), retry_after: None, denied: reason.contains("401") }
}

fn pending(word: &str) -> Observation {
    Observation::Pending(Progress { provider_status: word.into(), ..Progress::default() })
}

fn failed(why: &str) -> Observation {
    Observation::Failed { failure: Failure::charged(FailureKind::ProviderFailed, why), charges: Vec::new() }
}

fn link(url: &str) -> Observation {
    Observation::Succeeded { output: Output { url: url.to_owned(), expires: None }, charges: Vec::new() }
}

#[async_trait]
impl Provider for Fickle {
    fn abilities(&self) -> Abilities {
        self.abilities
    }

    async fn submit(&self, order: Order<'_>) -> Created {
        let marker = order.marker.as_str().to_owned();
        tokio::time::sleep(self.dice.up_to(Duration::from_secs(3))).await;
        let (answer, lost) = {
            let mut books = self.books.lock().unwrap();
            books.requests += 1;
            let safe = self.abilities.refuses_duplicates || books.clear.get(&marker).copied().unwrap_or(true);
            books.sent.push(Sent { marker: marker.clone(), safe });
            let known = books.sold.iter().any(|sold| sold.marker == marker);
            let (answer, taken) = match self.dice.below(100) {
                _ if known && self.abilities.refuses_duplicates => {
                    (Created::Unknown { reason: "duplicate".into() }, true)
                }
                _ if within(&self.outages) && self.dice.chance(0.5) => {
                    (Created::NotSent { reason: "refused".into() }, false)
                }
                _ if within(&self.outages) => (Created::Unknown { reason: "http 502".into() }, self.dice.chance(0.3)),
                _ if within(&self.denials) => {
                    let failure = Failure::free(FailureKind::ProviderAuth, "the key is not valid");
                    (Created::Refused(failure), false)
                }
                _ if Instant::now() >= self.calm => (Created::Accepted(self.sell(&mut books, &marker)), true),
                0..7 => (Created::Throttled { after: None, reason: "too many".into() }, false),
                7..14 => (Created::NotSent { reason: "no route".into() }, false),
                14..18 => (Created::Refused(Failure::free(FailureKind::ProviderRefused, "no such style")), false),
                18..25 => (Created::Unknown { reason: "reset".into() }, false),
                25..35 => (Created::Unknown { reason: "http 500".into() }, true),
                _ => (Created::Accepted(self.sell(&mut books, &marker)), true),
            };
            let lost = matches!(answer, Created::Unknown { .. });
            if lost && taken && !known {
                self.sell(&mut books, &marker);
            }
            books.clear.insert(marker, !taken && !lost);
            (answer, lost)
        };
        let slow = if lost { Duration::from_secs(60) } else { Duration::from_secs(5) };
        tokio::time::sleep(self.dice.up_to(slow)).await;
        answer
    }

    async fn poll(&self, jobs: &[Job]) -> Vec<Result<Observation, Trouble>> {
        tokio::time::sleep(self.dice.up_to(Duration::from_secs(2))).await;
        let mut books = self.books.lock().unwrap();
        books.requests += 1;
        books.polls += jobs.len() as u64;
        if within(&self.outages) || within(&self.denials) {
            let reason = if within(&self.outages) { "timeout" } else { "http 401" };
            return jobs.iter().map(|_| Err(trouble(reason))).collect();
        }
        jobs.iter().map(|job| self.observe(&mut books, job)).collect()
    }

    async fn find(&self, order: Order<'_>) -> Result<Found, Trouble> {
        let mut books = self.books.lock().unwrap();
        books.requests += 1;
        if within(&self.outages) || within(&self.denials) || self.ill(0.1) {
            return Err(trouble("http 503"));
        }
        let known = books.sold.iter().find(|sold| sold.marker == order.marker.as_str());
        // A new job is not always to be seen at once.
        let hidden = self.ill(0.1);
        Ok(match known.filter(|_| !hidden) {
            Some(sold) => Found::Job(Job { id: sold.id.clone(), handle: sold.marker.clone() }),
            None => Found::Nothing,
        })
    }

    async fn cancel(&self, job: &Job) -> Result<CancelOutcome, Trouble> {
        let mut books = self.books.lock().unwrap();
        books.requests += 1;
        if within(&self.outages) || self.ill(0.2) {
            return Err(trouble("http 503"));
        }
        let sold = books.sold.iter_mut().find(|sold| sold.id == job.id).expect("only what was sold is cancelled");
        if Instant::now() >= sold.ends {
            return Ok(CancelOutcome::TooLate);
        }
        sold.stopped = self.dice.chance(0.5);
        Ok(CancelOutcome::AskedUpstream)
    }
}
