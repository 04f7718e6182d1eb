//! From Kling's task, in either standard, to an observation.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::order::Place;
use crate::providers::LONGEST_LINK;
use crate::providers::redact::Redactor;
use crate::task::event::Observation;
use crate::task::state::{Charge, Failure, FailureKind, Output, Progress};
use crate::wire::kling::{RESULT_LIFETIME_S, Status, speaks_of_moderation};
use crate::wire::{kling_legacy as legacy, kling_new as new};

/// How many charges of one job are kept; one in practice.
const CHARGES: usize = 16;

/// What both standards say about a task.
struct Report {
    status: String,
    reason: String,
    url: Option<String>,
    changed_ms: Option<i64>,
    charges: Vec<Charge>,
    /// Whether the bill is there; an empty one says that nothing was charged.
    billed: bool,
}

/// Reads a task; nothing when it is of another shape.
pub(super) fn observe(task: &Value, place: &Place, redactor: &Redactor) -> Option<Observation> {
    let report = match place {
        Place::New => Report::of_new(serde_json::from_value(task.clone()).ok()?),
        Place::Legacy(_) => Report::of_legacy(serde_json::from_value(task.clone()).ok()?),
    };
    Some(report.observation(redactor))
}

impl Report {
    fn of_new(task: new::Task) -> Self {
        let video = |output: &&new::Output| is_link(&output.url) && matches!(output.r#type.as_str(), "video" | "");
        Self {
            status: task.status,
            reason: task.message,
            url: task.outputs.iter().find(video).map(|output| output.url.clone()),
            changed_ms: task.update_time.or(task.create_time),
            billed: task.billing.is_some(),
            charges: task.billing.unwrap_or_default().into_iter().take(CHARGES).map(new_charge).collect(),
        }
    }

    fn of_legacy(task: legacy::Task) -> Self {
        let videos = task.task_result.unwrap_or_default().videos;
        let mut charges = Vec::new();
        if !task.final_unit_deduction.is_empty() {
            charges.push(charge(task.final_unit_deduction, "unit", "final_unit_deduction"));
        }
        if let Some(balance) = task.final_balance_deduction.filter(|balance| !is_zero(&balance.quota)) {
            charges.push(charge(balance.quota, "balance", "final_balance_deduction"));
        }
        Self {
            status: task.task_status,
            reason: task.task_status_msg,
            url: videos.into_iter().map(|video| video.url).find(|url| is_link(url)),
            changed_ms: task.updated_at.or(task.created_at),
            billed: !charges.is_empty(),
            charges,
        }
    }

    fn observation(self, redactor: &Redactor) -> Observation {
        match (Status::read(&self.status), self.url) {
            (Status::Succeeded, Some(url)) => Observation::Succeeded {
                output: Output { url, expires: expiry(self.changed_ms) },
                charges: self.charges,
            },
            (Status::Failed, _) => Observation::Failed {
                failure: failure(&self.reason, self.billed, &self.charges, redactor),
                charges: self.charges,
            },
            // A success without a link is no success yet; an unknown word is no end.
            (Status::Succeeded | Status::Submitted | Status::Processing | Status::Other(_), _) => {
                let provider_status = redactor.capped(&self.status, 64);
                Observation::Pending(Progress { provider_status, ..Progress::default() })
            }
        }
    }
}

fn failure(reason: &str, billed: bool, charges: &[Charge], redactor: &Redactor) -> Failure {
    let kind = if speaks_of_moderation(reason) { FailureKind::Moderated } else { FailureKind::ProviderFailed };
    let message = redactor.redact(reason);
    let message = if message.is_empty() { "failed without a reason".to_owned() } else { message };
    // Without a bill nobody knows, and then "maybe" is the honest word.
    let maybe_charged = !billed || charges.iter().any(|charge| !is_zero(&charge.amount));
    Failure { maybe_charged, ..Failure::free(kind, message).with_code("failed") }
}

fn is_link(url: &str) -> bool {
    (1..=LONGEST_LINK).contains(&url.len())
}

fn new_charge(billing: new::Billing) -> Charge {
    let unit = if billing.currency.is_empty() { &billing.charge_type } else { &billing.currency };
    charge(billing.amount, unit, &billing.package_type)
}

fn charge(amount: String, unit: &str, description: &str) -> Charge {
    /// They come from outside and are kept for good.
    const LONGEST: usize = 64;
    let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    Charge { amount: short(&amount), unit: short(unit), description: short(description) }
}

fn is_zero(amount: &str) -> bool {
    amount.trim().is_empty() || amount.trim().parse::<f64>().is_ok_and(|number| number == 0.0)
}

fn expiry(changed_ms: Option<i64>) -> Option<SystemTime> {
    let changed = Duration::from_millis(u64::try_from(changed_ms?).ok().filter(|ms| *ms > 0)?);
    SystemTime::UNIX_EPOCH.checked_add(changed)?.checked_add(Duration::from_secs(RESULT_LIFETIME_S))
}
